namespace Varlen.Data;

/// <summary>What a corpus consists of, and what of it was not read.</summary>
/// <param name="Files">The files that were read, in order.</param>
/// <param name="Documents">Documents that were stored.</param>
/// <param name="Tokens">Their tokens, ends of text included.</param>
/// <param name="EmptyDocuments">Files and records without text.</param>
/// <param name="Skipped">Files with a text ending that hold no text, and why.</param>
/// <param name="OtherFiles">Files in folders whose ending is not one of text.</param>
/// <param name="BadLineCount">Lines that are no valid record.</param>
/// <param name="BadLines">The first of them.</param>
/// <param name="Lengths">Tokens of the documents.</param>
/// <param name="Records">The documents by kind, those that there are.</param>
public sealed record CorpusSummary(IReadOnlyList<CorpusFile> Files, int Documents, long Tokens, long EmptyDocuments, IReadOnlyList<SkippedFile> Skipped, long OtherFiles,
    long BadLineCount, IReadOnlyList<BadLine> BadLines, LengthHistogram Lengths, IReadOnlyList<RecordCount> Records)
{
    /// <summary>Bytes of all files that were read.</summary>
    public long Bytes => Files.Sum(file => file.Bytes);
}

/// <summary>A file that was read.</summary>
/// <param name="Path">The path.</param>
/// <param name="Bytes">Its length.</param>
/// <param name="Documents">Documents it gave.</param>
/// <param name="Sha256">SHA-256 of its bytes, in hexadecimal digits.</param>
public sealed record CorpusFile(string Path, long Bytes, long Documents, string Sha256);

/// <summary>A file that was not read.</summary>
/// <param name="Path">The path.</param>
/// <param name="Reason">Why not.</param>
public sealed record SkippedFile(string Path, string Reason);

/// <summary>A line that is no valid record.</summary>
/// <param name="Path">The file.</param>
/// <param name="Line">The line, counted from 1.</param>
/// <param name="Column">Byte of the line where the defect is, counted from 1.</param>
/// <param name="Reason">What is wrong.</param>
public sealed record BadLine(string Path, long Line, long Column, string Reason)
{
    /// <summary>Place and reason, as compilers print them.</summary>
    public override string ToString() => $"{Path}:{Line}:{Column}: {Reason}";
}
