using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Varlen.Checkpoints;
using Xunit;

namespace Varlen.Tests.Checkpoints;

/// <summary>This program as another process, which saves checkpoints until it is killed or told to stop.</summary>
internal sealed partial class CrashTarget : IDisposable
{
    public const string Command = "crash-target";
    private const int Terminate = 15;
    private static readonly string Program = Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "Varlen.Tests.exe" : "Varlen.Tests");
    private readonly Process _process;

    /// <param name="mode">"loop" saves without end, "serve" on request, "lock" takes the folder's lock.</param>
    /// <param name="folder">The folder of checkpoints.</param>
    public CrashTarget(string mode, string folder)
    {
        var start = new ProcessStartInfo(Program, [Command, mode, folder]) { RedirectStandardInput = true, RedirectStandardOutput = true };
        // A debugger's channel would be one more thread and one more file.
        start.Environment["DOTNET_EnableDiagnostics"] = "0";
        start.Environment["DOTNET_TieredPGO"] = "0";
        _process = Process.Start(start)!;
        Greeting = ReadLine() ?? "";
    }

    /// <summary>The first line that it writes.</summary>
    public string Greeting { get; }

    public int Id => _process.Id;

    public bool HasExited => _process.HasExited;

    public string? ReadLine() => _process.StandardOutput.ReadLine();

    /// <summary>Sends a line and gives the answer; null when the process died over it.</summary>
    public string? Ask(string line)
    {
        try
        {
            _process.StandardInput.WriteLine(line);
            _process.StandardInput.Flush();
        }
        catch (IOException)
        {
            return null;
        }
        return ReadLine();
    }

    public void Kill() => _process.Kill();

    public void WaitForExit() => _process.WaitForExit();

    public void Dispose()
    {
        if (!_process.HasExited) _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
    }

    public static void Stop(Process process)
    {
        Assert.Equal(0, Signal(process.Id, Terminate));
        process.WaitForExit();
    }

    /// <summary>What the other process does.</summary>
    public static int Run(string mode, string folder)
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        if (mode == "lock") return Lock(folder);
        var checkpoints = new CheckpointFolder(folder, warning => Console.Error.WriteLine($"warning: {warning}"));
        long step = CheckpointCase.Recover(folder) ?? 0;
        Console.WriteLine($"ready {step}");
        if (mode == "loop")
        {
            while (true)
            {
                step++;
                checkpoints.Save(step, CheckpointCase.Contents(step, 20_000));
                Console.WriteLine(step);
            }
        }
        while (Console.ReadLine() is { } line)
        {
            step = long.Parse(line, CultureInfo.InvariantCulture);
            try
            {
                checkpoints.Save(step, CheckpointCase.Contents(step));
                Console.WriteLine("saved");
            }
            catch (CheckpointSaveException e)
            {
                Console.WriteLine(e.Message.ReplaceLineEndings(" "));
            }
        }
        return 0;
    }

    private static int Lock(string folder)
    {
        try
        {
            using RunLock held = RunLock.Acquire(folder);
            Console.WriteLine("locked");
            Console.ReadLine();
        }
        catch (RunLockedException e)
        {
            Console.WriteLine(e.Message);
            return 75;
        }
        return 0;
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Signal(int process, int signal);
}
