using System.Buffers;
using System.Text;
using Varlen.Checkpoints;
using Varlen.Text;

namespace Varlen.Data;

/// <summary>What the next line of a jsonl file is.</summary>
internal enum JsonLine { End, Blank, Record, Bad }

/// <summary>
/// Reads jsonl record by record and hands on a text piece by piece, so that a line of any length passes through fixed memory: strict JSON,
/// at most 64 levels deep, at most 1 MiB of keys a line, no key twice in an object. What examples consist of is at most 64 MiB a record.
/// </summary>
internal sealed partial class JsonLineReader(TextSource source, TextSink sink, string? textField, Lazy<ChatFormat>? chat)
{
    private const int Deepest = 64, MostKeyBytes = 1 << 20;
    private enum Use { Nothing, Key, Text, Held }

    private readonly List<HashSet<string>> _keys = [];
    private readonly ArrayBufferWriter<byte> _key = new();
    private int _keyBytes;

    /// <summary>The defect of a bad line.</summary>
    public BadLine? Defect { get; private set; }

    /// <summary>Reads a line. Of a record the text is in the sink and wants to be ended; a bad line wants it to be abandoned.</summary>
    public JsonLine Next()
    {
        SkipSpace();
        int next = Peek();
        if (next < 0) return JsonLine.End;
        if (next == '\n')
        {
            source.Advance(1);
            return JsonLine.Blank;
        }
        (_keyBytes, Defect) = (0, null);
        BeginRecord();
        sink.Begin();
        bool good = ReadRecord();
        if (!good) SkipLine();
        if (Peek() == '\n') source.Advance(1);
        return good ? JsonLine.Record : JsonLine.Bad;
    }

    private bool ReadRecord()
    {
        if (Peek() != '{') return Fail("a record is a JSON object, and this line is none");
        if (!ReadObject(1, ReadField)) return false;
        SkipSpace();
        if (Peek() is not ('\n' or -1)) return Fail("something follows the record in its line");
        return EndRecord();
    }

    // A field is skipped unless something reads it.
    private bool ReadObject(int depth, Func<string, bool>? read = null)
    {
        source.Advance(1);
        while (_keys.Count < depth) _keys.Add(new(StringComparer.Ordinal));
        HashSet<string> keys = _keys[depth - 1];
        keys.Clear();
        for (bool first = true; ; first = false)
        {
            SkipSpace();
            if (first && Peek() == '}') break;
            if (Peek() != '"') return Unexpected("a key in quotes");
            _key.ResetWrittenCount();
            if (!ReadString(Use.Key)) return false;
            string key = Encoding.UTF8.GetString(_key.WrittenSpan);
            if (!keys.Add(key)) return Fail($"the key {JsonText.Quote(key)} appears twice");
            SkipSpace();
            if (Peek() != ':') return Unexpected("':'");
            source.Advance(1);
            SkipSpace();
            if (!(read is null ? SkipValue(depth) : read(key))) return false;
            SkipSpace();
            if (Peek() == '}') break;
            if (Peek() != ',') return Unexpected("',' or '}'");
            source.Advance(1);
        }
        source.Advance(1);
        return true;
    }

    private bool ReadArray(Func<bool> readElement)
    {
        source.Advance(1);
        for (bool first = true; ; first = false)
        {
            SkipSpace();
            if (first && Peek() == ']') break;
            if (!readElement()) return false;
            SkipSpace();
            if (Peek() == ']') break;
            if (Peek() != ',') return Unexpected("',' or ']'");
            source.Advance(1);
        }
        source.Advance(1);
        return true;
    }

    private bool SkipValue(int depth)
    {
        int next = Peek();
        if (next is '{' or '[' && depth == Deepest) return Fail($"values are nested more than {Deepest} deep");
        return next switch
        {
            '{' => ReadObject(depth + 1),
            '[' => ReadArray(() => SkipValue(depth + 1)),
            '"' => ReadString(Use.Nothing),
            't' => SkipLiteral("true"u8),
            'f' => SkipLiteral("false"u8),
            'n' => SkipLiteral("null"u8),
            '-' or (>= '0' and <= '9') => SkipNumber(),
            _ => Unexpected("a value"),
        };
    }

    private bool SkipLiteral(ReadOnlySpan<byte> literal)
    {
        Ensure(literal.Length);
        if (!source.Rest.StartsWith(literal)) return Unexpected("a value");
        source.Advance(literal.Length);
        return true;
    }

    private bool SkipNumber()
    {
        if (Peek() == '-') source.Advance(1);
        if (Peek() == '0') source.Advance(1);
        else if (!SkipDigits()) return Unexpected("a digit");
        if (Peek() == '.')
        {
            source.Advance(1);
            if (!SkipDigits()) return Unexpected("a digit");
        }
        if (Peek() is not ('e' or 'E')) return true;
        source.Advance(1);
        if (Peek() is '+' or '-') source.Advance(1);
        return SkipDigits() || Unexpected("a digit");
    }

    private bool SkipDigits()
    {
        if (Peek() is not (>= '0' and <= '9')) return false;
        while (Peek() is >= '0' and <= '9') source.Advance(1);
        return true;
    }

    private void SkipSpace()
    {
        while (Peek() is ' ' or '\t' or '\r') source.Advance(1);
    }

    private void SkipLine()
    {
        do
        {
            int end = source.Rest.IndexOf((byte)'\n');
            source.Advance(end < 0 ? source.Rest.Length : end);
            if (end >= 0) return;
        }
        while (source.Fill());
    }

    private int Peek() => source.Rest.IsEmpty && !source.Fill() ? -1 : source.Rest[0];

    private void Ensure(int count)
    {
        while (source.Rest.Length < count && source.Fill()) { }
    }

    private bool Unexpected(string expected) => Fail(Peek() switch
    {
        -1 or '\n' => $"the line ends where {expected} belongs",
        int found and > ' ' and < 127 => $"'{(char)found}' stands where {expected} belongs",
        int found => $"byte 0x{found:X2} stands where {expected} belongs",
    });

    private bool Fail(string reason, int ahead = 0)
    {
        Defect = new(source.Path, source.Line, source.Column + ahead, reason);
        return false;
    }
}
