namespace Varlen.Checkpoints;

/// <summary>Another process writes this run folder. Trying again later can succeed.</summary>
public sealed class RunLockedException : IOException
{
    /// <summary>Makes the exception.</summary>
    /// <param name="folder">The run folder.</param>
    /// <param name="processId">The holder; null when it could not be read.</param>
    /// <param name="host">The holder's host; null when it could not be read.</param>
    /// <param name="fix">What the user can do.</param>
    public RunLockedException(string folder, int? processId, string? host, string fix = "wait for it to end, stop it, or use another folder")
        : base($"the run folder {folder} is in use by {(processId is null ? "another process" : $"process {processId} on {host}")} - {fix}")
        => (Folder, ProcessId, Host) = (folder, processId, host);

    /// <summary>The run folder.</summary>
    public string Folder { get; }

    /// <summary>The holder; null when it could not be read.</summary>
    public int? ProcessId { get; }

    /// <summary>The holder's host; null when it could not be read.</summary>
    public string? Host { get; }
}
