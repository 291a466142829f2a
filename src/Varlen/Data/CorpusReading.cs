using System.Text.Unicode;
using Varlen.Text;

namespace Varlen.Data;

/// <summary>One pass over files: each document goes into a sink; what is not read is written down.</summary>
internal sealed class CorpusReading(TextCorpusOptions options, TextSink sink, IProgress<long>? progress, CancellationToken cancellationToken)
{
    private const int BadLinesShown = 20;
    private readonly CorpusFiles _found = new();
    private readonly List<CorpusFile> _files = [];
    private readonly List<BadLine> _bad = [];
    private readonly Lazy<ChatFormat>? _chat = options.ChatFormat is { } make ? new(make) : null;
    private long _badCount, _empty, _documents;

    /// <summary>Reads everything, or throws.</summary>
    public CorpusReading Read(IEnumerable<string> paths)
    {
        string[] all = [.. paths];
        foreach (string path in all) _found.Add(path);
        using var source = new TextSource(progress, cancellationToken);
        foreach (FoundFile file in _found.Files) Read(source, file);
        if (_badCount > 0 && options.BadLines == BadLines.Stop) throw BadLinesFound();
        return _documents > 0 ? this : throw new TextFormatException("there is no text", string.Join(", ", all), 0, 0, $"{_files.Count} files were read, {_empty} files or records are empty, {_found.Skipped.Count} were skipped, and none holds a document", "name files or folders with text");
    }

    /// <summary>What was read.</summary>
    public CorpusSummary Summarize(TokenStoreWriter writer, IReadOnlyList<RecordCount> records)
        => new(_files, writer.DocumentCount, writer.Tokens, _empty, _found.Skipped, _found.Others, _badCount, _bad, LengthHistogram.Of(writer.Lengths), records);

    private void Read(TextSource source, FoundFile file)
    {
        long before = _documents;
        if (CorpusFiles.LengthOf(file.Path) == 0)
        {
            // A pipe or a device looks the same, so a named one is not passed over in silence.
            if (file.Named) _found.Skipped.Add(new(file.Path, "it is empty, or no regular file"));
            _empty++;
            return;
        }
        source.Open(file.Path);
        string? refused = TextEncodings.WhyNoText(source);
        if (refused is null)
        {
            if (file.IsJsonLines) ReadLines(source);
            else refused = ReadText(source);
        }
        if (refused is null) _files.Add(new(file.Path, source.Length, _documents - before, source.Finish()));
        else if (file.Named) throw new TextFormatException("the file is no text", file.Path, source.Line, source.Column, refused, "name a text file in UTF-8");
        else _found.Skipped.Add(new(file.Path, refused));
    }

    private string? ReadText(TextSource source)
    {
        sink.Begin();
        do
        {
            ReadOnlySpan<byte> rest = source.Rest;
            int nul = rest.IndexOf((byte)0);
            int usable = source.Ended ? rest.Length : Utf8Text.Complete(rest);
            if (nul >= 0)
            {
                source.Advance(nul);
                sink.Abandon();
                return "it holds a zero byte, as binary files do";
            }
            if (!Utf8.IsValid(rest[..usable]))
            {
                int at = Utf8Text.FirstInvalid(rest);
                (long line, long column) = source.PlaceOf(at);
                throw new TextFormatException($"byte 0x{rest[at]:X2} is no UTF-8", source.Path, line, column, "only UTF-8 is read", "convert the file, for example from Latin-1 with: iconv -f ISO-8859-1 -t UTF-8");
            }
            sink.Write(rest[..usable]);
            source.Advance(usable);
        }
        while (source.Fill() || !source.Rest.IsEmpty);
        EndDocument(RecordKind.Text);
        return null;
    }

    private void ReadLines(TextSource source)
    {
        var lines = new JsonLineReader(source, sink, options.TextField, _chat);
        for (JsonLine line; (line = lines.Next()) != JsonLine.End;)
        {
            if (line == JsonLine.Record) EndDocument(lines.Kind);
            if (line != JsonLine.Bad) continue;
            sink.Abandon();
            if (_badCount++ < BadLinesShown) _bad.Add(lines.Defect!);
        }
    }

    private void EndDocument(RecordKind kind)
    {
        if (sink.End(kind)) _documents++;
        else _empty++;
    }

    private TextFormatException BadLinesFound()
    {
        string more = _badCount > _bad.Count ? $"\n... and {_badCount - _bad.Count} more" : "";
        return new($"{_badCount} lines are no valid records", _bad[0].Path, _bad[0].Line, _bad[0].Column, $"{string.Join('\n', _bad)}{more}", "correct them, name another text field, or have bad lines skipped");
    }
}
