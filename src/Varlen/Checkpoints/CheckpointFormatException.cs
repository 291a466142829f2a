namespace Varlen;

/// <summary>
/// A file that holds weights or training state does not follow its format. The message reads: what is wrong - file and byte - why - how to
/// fix it; the parts are properties too. Failures of the disk or the system stay <see cref="IOException"/>.
/// </summary>
public sealed class CheckpointFormatException : FormatException
{
    /// <summary>Makes the exception from its parts.</summary>
    /// <param name="what">What is wrong, naming the tensor or field.</param>
    /// <param name="path">The file.</param>
    /// <param name="offset">Byte of the file where it was found.</param>
    /// <param name="reason">Why that is refused.</param>
    /// <param name="fix">What the user can do.</param>
    /// <param name="inner">The cause, if another exception is.</param>
    public CheckpointFormatException(string what, string path, long offset, string reason, string fix, Exception? inner = null)
        : base($"{what} - {(path.Length == 0 ? "in memory" : path)}, byte {offset} - {reason} - {fix}", inner)
    {
        (What, Path, Offset, Reason, Fix) = (what, path, offset, reason, fix);
    }

    /// <summary>What is wrong.</summary>
    public string What { get; }

    /// <summary>The file; empty when the bytes did not come from one.</summary>
    public string Path { get; }

    /// <summary>Byte of the file where the defect was found, counted from 0.</summary>
    public long Offset { get; }

    /// <summary>Why it is refused.</summary>
    public string Reason { get; }

    /// <summary>What the user can do.</summary>
    public string Fix { get; }
}
