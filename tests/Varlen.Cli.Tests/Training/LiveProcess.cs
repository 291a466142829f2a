using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using Xunit;

namespace Varlen.Cli.Tests.Training;

/// <summary>The program while it runs: its error stream can be waited for, and it can be sent signals.</summary>
internal sealed class LiveProcess : IDisposable
{
    public const int Interrupt = 2, Kill = 9, Terminate = 15;
    private readonly Process _process;
    private readonly StringBuilder _seen = new();
    private readonly Task<string> _output;

    public LiveProcess(params string[] args)
    {
        _process = Process.Start(new ProcessStartInfo(Cli.Program, args) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true })!;
        _process.StandardInput.Close();
        _output = _process.StandardOutput.ReadToEndAsync();
    }

    public int Id => _process.Id;

    /// <summary>Reads up to a line that begins, after blanks, with some text.</summary>
    public void WaitFor(string start)
    {
        while (_process.StandardError.ReadLine() is { } line)
        {
            _seen.Append(line).Append('\n');
            if (line.TrimStart().StartsWith(start, StringComparison.Ordinal)) return;
        }
        Assert.Fail($"the process ended before a line with '{start}':\n{_seen}");
    }

    public void Send(int signal) => Assert.Equal(0, SendSignal(Id, signal));

    public CliResult End()
    {
        _seen.Append(_process.StandardError.ReadToEnd());
        string output = _output.Result;
        _process.WaitForExit();
        return new(_process.ExitCode, output, _seen.ToString());
    }

    public void Dispose()
    {
        if (!_process.HasExited) _process.Kill();
        _process.Dispose();
    }

    [DllImport("libc", EntryPoint = "kill")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int SendSignal(int process, int signal);
}
