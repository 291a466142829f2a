using System.Runtime.CompilerServices;
using Xunit;

namespace Varlen.Tests;

/// <summary>Every test runs with new memory full of NaN: a kernel that reads what nothing wrote shows at once.</summary>
internal static class Memory
{
    [ModuleInitializer]
    internal static void PoisonNewMemory()
    {
        MemoryDiagnostics.PoisonNewMemory = true;
        MemoryDiagnostics.TraceAllocations = Environment.GetEnvironmentVariable("VARLEN_TEST_TRACE") == "1";
    }

    /// <summary>Runs an action twice and asserts that it leaves no tensor storage behind, not even for the garbage collector.</summary>
    public static void AssertReleasesAll(Action action)
    {
        action();
        Collect();
        (long live, long leaked) = (MemoryDiagnostics.LiveCount, MemoryDiagnostics.LeakedCount);
        action();
        Assert.Equal(live, MemoryDiagnostics.LiveCount);
        Collect();
        Assert.True(leaked == MemoryDiagnostics.LeakedCount, $"{MemoryDiagnostics.LeakedCount - leaked} storages leaked (VARLEN_TEST_TRACE=1 tells where they were made) {string.Join("\n", MemoryDiagnostics.Leaks)}");
    }

    private static void Collect()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
    }
}
