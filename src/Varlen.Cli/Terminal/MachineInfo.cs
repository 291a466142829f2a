using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Varlen.Cli.Commands;

namespace Varlen.Cli.Terminal;

/// <summary>What the program is and runs on.</summary>
internal static class MachineInfo
{
    /// <summary>The program's version.</summary>
    public static string Version { get; } = typeof(Tensor).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion;

    /// <summary>Whether the library was built without optimisation: figures then mean nothing.</summary>
    public static bool IsDebugBuild { get; } = typeof(Tensor).Assembly.GetCustomAttribute<System.Diagnostics.DebuggableAttribute>() is { IsJITOptimizerDisabled: true };

    /// <summary>Bits of the widest vectors that kernels use.</summary>
    public static int VectorBits => Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : 128;

    /// <summary>The processor's name as the system gives it, or its architecture.</summary>
    public static string Processor()
    {
        try
        {
            const string key = "model name";
            if (OperatingSystem.IsLinux() && File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith(key, StringComparison.Ordinal)) is { } line)
                return line[(line.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A sandbox without /proc still has an architecture.
        }
        return Environment.GetEnvironmentVariable("PROCESSOR_IDENTIFIER") ?? RuntimeInformation.ProcessArchitecture.ToString();
    }

    /// <summary>Every kind of device: its name, and why it is missing, or null.</summary>
    public static IReadOnlyList<(string Name, string? Missing)> Devices { get; } = [("cpu", null), ("cuda", DeviceChoice.NoCuda)];
}
