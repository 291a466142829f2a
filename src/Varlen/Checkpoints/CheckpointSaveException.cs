using System.Globalization;

namespace Varlen.Checkpoints;

/// <summary>
/// A checkpoint could not be saved; earlier ones are as they were. The message reads: what failed - operation and file with the system's
/// reason - bytes needed and free - how to fix it; the parts are properties too.
/// </summary>
public sealed class CheckpointSaveException : IOException
{
    // Codes of a full disk or an exhausted quota on Linux, macOS (69) and Windows, as exceptions carry them.
    private static readonly int[] FullDisk = [28, 69, 122, unchecked((int)0x80070070), unchecked((int)0x80070027)];

    /// <summary>Makes the exception from its parts.</summary>
    /// <param name="step">Step of the checkpoint.</param>
    /// <param name="operation">What was being done, such as "write" or "sync file".</param>
    /// <param name="path">The file or folder it was done to.</param>
    /// <param name="neededBytes">Bytes of the checkpoint's files as far as they were known.</param>
    /// <param name="freeBytes">Bytes that the disk had left; null when unknown.</param>
    /// <param name="cause">The system's failure.</param>
    public CheckpointSaveException(long step, string operation, string path, long neededBytes, long? freeBytes, Exception cause)
        : base(Text(step, operation, path, neededBytes, freeBytes, cause), cause)
    {
        (Step, Operation, Path, NeededBytes, FreeBytes) = (step, operation, path, neededBytes, freeBytes);
        if (cause is not null) HResult = cause.HResult;
    }

    /// <summary>Step of the checkpoint that was not saved.</summary>
    public long Step { get; }

    /// <summary>What was being done, such as "write" or "sync file".</summary>
    public string Operation { get; }

    /// <summary>The file or folder it was done to.</summary>
    public string Path { get; }

    /// <summary>Bytes of the checkpoint's files as far as they were known.</summary>
    public long NeededBytes { get; }

    /// <summary>Bytes that the disk had left after the attempt was removed; null when unknown.</summary>
    public long? FreeBytes { get; }

    /// <summary>Whether the disk or a quota was full.</summary>
    public bool IsDiskFull => FullDisk.Contains(HResult);

    private static string Text(long step, string operation, string path, long needed, long? free, Exception cause)
    {
        ArgumentNullException.ThrowIfNull(cause);
        string room = free is { } bytes ? $"{needed:N0} bytes needed, {bytes:N0} free" : $"{needed:N0} bytes needed";
        string fix = FullDisk.Contains(cause.HResult) ? "free some space, or use a folder on another disk" : "check the disk and the folder's permissions";
        return string.Create(CultureInfo.InvariantCulture, $"the checkpoint of step {step} was not saved - {operation} {path}: {cause.Message} - {room} - {fix}; earlier checkpoints are intact");
    }
}
