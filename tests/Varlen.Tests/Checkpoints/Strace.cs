using System.Diagnostics;
using Xunit;

namespace Varlen.Tests.Checkpoints;

/// <summary>strace, attached to another process's main thread, which changes one of its system calls.</summary>
internal sealed class Strace : IDisposable
{
    private readonly Process _process;
    private readonly string _log = Path.GetTempFileName();

    /// <param name="process">The process.</param>
    /// <param name="calls">System calls that count, as strace names a set of them.</param>
    /// <param name="effect">What happens at one of them: "signal=KILL" or "error=EIO".</param>
    /// <param name="number">Which of them, counted from 1.</param>
    public Strace(int process, string calls, string effect, int number)
    {
        string[] arguments = ["-p", $"{process}", "-o", _log, "-e", $"trace={calls}", "-e", $"inject={calls}:{effect}:when={number}"];
        _process = Process.Start(new ProcessStartInfo(Program!, arguments) { RedirectStandardError = true })!;
        string? line = _process.StandardError.ReadLine();
        Assert.True(line?.Contains("attached", StringComparison.Ordinal) == true, $"strace says: {line}");
    }

    private static string? Program { get; } = Environment.GetEnvironmentVariable("PATH")?.Split(Path.PathSeparator).Select(folder => Path.Combine(folder, "strace")).FirstOrDefault(File.Exists);

    /// <summary>Skips the test where strace is missing or may not attach.</summary>
    public static void Require(int process)
    {
        Assert.SkipWhen(Program is null, "strace is not installed");
        using Process probe = Process.Start(new ProcessStartInfo(Program!, ["-p", $"{process}", "-o", "/dev/null", "-e", "trace=none"]) { RedirectStandardError = true })!;
        string? line = probe.StandardError.ReadLine();
        if (line?.Contains("attached", StringComparison.Ordinal) == true) CrashTarget.Stop(probe);
        else
        {
            probe.WaitForExit();
            Assert.Skip($"strace cannot attach here: {line}");
        }
    }

    /// <summary>Detaches and says whether a call was changed.</summary>
    public bool WasInjected()
    {
        if (!_process.HasExited) CrashTarget.Stop(_process);
        string log = File.ReadAllText(_log);
        return log.Contains("(INJECTED)", StringComparison.Ordinal) || log.Contains("killed by SIGKILL", StringComparison.Ordinal);
    }

    public void Dispose()
    {
        if (!_process.HasExited) CrashTarget.Stop(_process);
        _process.Dispose();
        File.Delete(_log);
    }
}
