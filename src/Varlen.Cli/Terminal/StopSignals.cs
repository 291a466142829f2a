using System.Runtime.InteropServices;

namespace Varlen.Cli.Terminal;

/// <summary>Ctrl-C and requests to terminate: the first asks the work to stop where its state is whole, the second ends the process at once.</summary>
internal sealed class StopSignals : IDisposable
{
    private readonly CancellationTokenSource _source = new();
    private readonly PosixSignalRegistration[] _registrations;
    private int _received;

    /// <param name="announce">What to say at the first signal.</param>
    public StopSignals(string announce)
    {
        PosixSignal[] signals = OperatingSystem.IsWindows() ? [PosixSignal.SIGINT, PosixSignal.SIGTERM] : [PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGQUIT];
        _registrations = [.. signals.Select(signal => PosixSignalRegistration.Create(signal, context =>
        {
            context.Cancel = true;
            ExitCode code = context.Signal == PosixSignal.SIGINT ? ExitCode.Interrupted : ExitCode.Terminated;
            // Exit would wait for the thread that trains; checkpoints survive a process that ends at any point.
            if (Interlocked.Increment(ref _received) > 1) Exit((int)code);
            Code = code;
            Console.Error.WriteLine($"\n{announce}");
            _source.Cancel();
        }))];
    }

    /// <summary>Cancelled by the first signal.</summary>
    public CancellationToken Token => _source.Token;

    /// <summary>How the process is to end after a signal; null before one.</summary>
    public ExitCode? Code { get; private set; }

    /// <summary>The end of work that has no state to save.</summary>
    public CommandException Stopped(OperationCanceledException cause) => new(Code ?? ExitCode.Interrupted, "stopped before the work was done", cause: cause);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in _registrations) registration.Dispose();
        _source.Dispose();
    }

    private static void Exit(int code)
    {
        if (OperatingSystem.IsWindows()) Environment.Exit(code);
        NativeExit(code);
    }

    [DllImport("libc", EntryPoint = "_exit")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern void NativeExit(int code);
}
