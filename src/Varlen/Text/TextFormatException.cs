namespace Varlen;

/// <summary>
/// A text, a tokenizer or a token store does not follow its format. The message reads: what is wrong - file:line:column - why - how to fix
/// it; the parts are properties too. Failures of the disk or the system stay <see cref="IOException"/>.
/// </summary>
public sealed class TextFormatException : FormatException
{
    /// <summary>Makes the exception from its parts.</summary>
    /// <param name="what">What is wrong.</param>
    /// <param name="path">The file.</param>
    /// <param name="line">Line of the file, counted from 1; 0 when the defect has none.</param>
    /// <param name="column">Byte of the line, counted from 1; 0 when the defect has none.</param>
    /// <param name="reason">Why that is refused.</param>
    /// <param name="fix">What the user can do.</param>
    /// <param name="inner">The cause, if another exception is.</param>
    public TextFormatException(string what, string path, long line, long column, string reason, string fix, Exception? inner = null)
        : base($"{what} - {Place(path, line, column)} - {reason} - {fix}", inner)
    {
        (What, Path, Line, Column, Reason, Fix) = (what, path, line, column, reason, fix);
    }

    /// <summary>What is wrong.</summary>
    public string What { get; }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>Line of the file, counted from 1; 0 when the defect has none.</summary>
    public long Line { get; }

    /// <summary>Byte of the line, counted from 1; 0 when the defect has none.</summary>
    public long Column { get; }

    /// <summary>The file with line and column, as compilers print it.</summary>
    public string Where => Place(Path, Line, Column);

    /// <summary>Why it is refused.</summary>
    public string Reason { get; }

    /// <summary>What the user can do.</summary>
    public string Fix { get; }

    private static string Place(string path, long line, long column) => line == 0 ? path : column == 0 ? $"{path}:{line}" : $"{path}:{line}:{column}";
}
