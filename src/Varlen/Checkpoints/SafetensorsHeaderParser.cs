using System.Buffers;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace Varlen.Checkpoints;

/// <summary>
/// Walks a header's JSON token by token. No step allocates by a number the file states, recurses, or costs more than the
/// text it consumes; the grammar has no place for deeper nesting, so nesting needs no bound of its own.
/// </summary>
internal ref partial struct SafetensorsHeaderParser
{
    private const string Rewrite = "the file is damaged or its writer is: write or download it again";
    // {"":{"dtype":"U8","shape":[],"data_offsets":[0,1]}} less the outer braces.
    private const int ShortestTensor = 49;

    private readonly ReadOnlyMemory<byte> _json;
    private readonly string _path;
    private readonly long _dataLength;
    private readonly JsonKeyTable _names;
    private SafetensorsRecord[] _records;
    private SafetensorsMetadata? _metadata;
    private Utf8JsonReader _reader;

    public SafetensorsHeaderParser(ReadOnlyMemory<byte> json, long fileLength, string path)
    {
        _json = json;
        _path = path;
        _dataLength = fileLength - SafetensorsContainer.Prefix - json.Length;
        int tensors = Math.Min(json.Span.Count((byte)'{') - 1, Math.Min(json.Length / ShortestTensor + 1, SafetensorsLimits.Tensors));
        _names = new(json, tensors);
        _records = new SafetensorsRecord[Math.Max(tensors, 1)];
    }

    public SafetensorsHeader Parse()
    {
        RequireUtf8();
        _reader = new Utf8JsonReader(_json.Span);
        try
        {
            ReadObject();
        }
        catch (JsonException cause)
        {
            // The reader's message ends with a line and column, which the offset replaces.
            string reason = cause.Message.Split(" LineNumber:")[0].Split(" Path:")[0];
            throw Fail("the header is not valid JSON", _reader.BytesConsumed, JsonEncodedText.Encode(reason, System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping).ToString(), Rewrite, cause);
        }
        RequireTiling();
        return new(_json, _path, _names, _records, _metadata ?? new(_json, new(_json, 0), []));
    }

    private void ReadObject()
    {
        _reader.Read();
        while (_reader.Read() && _reader.TokenType == JsonTokenType.PropertyName)
        {
            RequireKey("a tensor name");
            if (_reader.ValueTextEquals("__metadata__"u8)) ReadMetadata();
            else ReadTensor();
        }
        // Throws when anything but white space follows the object.
        _reader.Read();
    }

    private void ReadMetadata()
    {
        long start = _reader.TokenStartIndex;
        if (_metadata is not null) throw Fail("'__metadata__' appears twice", start, "readers would disagree on which counts", Rewrite);
        _reader.Read();
        if (_reader.TokenType != JsonTokenType.StartObject)
            throw Fail("'__metadata__' is not an object", _reader.TokenStartIndex, "it must map strings to strings", Rewrite);

        var values = new int[CountProperties()];
        var keys = new JsonKeyTable(_json, values.Length);
        while (_reader.Read() && _reader.TokenType == JsonTokenType.PropertyName)
        {
            RequireKey("a metadata key");
            if (!AddKey(keys)) throw Fail($"metadata key {JsonText.Quote(_reader)} appears twice", _reader.TokenStartIndex, "readers would disagree on which counts", Rewrite);
            _reader.Read();
            if (_reader.TokenType != JsonTokenType.String)
                throw Fail($"the metadata value of {JsonText.Quote(keys[keys.Count - 1])} is not a string", _reader.TokenStartIndex, "metadata maps strings to strings", "write the value as a JSON string");
            RequireUnicode("a metadata value");
            values[keys.Count - 1] = (int)_reader.TokenStartIndex;
        }
        _metadata = new(_json, keys, values);
    }

    // A reader is a value: its copy runs ahead, so that the table is made in one piece. It stops before any defect, which
    // the reader itself meets next, at the right place.
    private readonly int CountProperties()
    {
        Utf8JsonReader ahead = _reader;
        int count = 0;
        try
        {
            while (ahead.Read() && ahead.TokenType == JsonTokenType.PropertyName)
            {
                if (++count > SafetensorsLimits.MetadataEntries)
                    throw Fail("the metadata has too many keys", ahead.TokenStartIndex, $"the limit is {SafetensorsLimits.MetadataEntries}", "keep such data in a file of its own");
                ahead.Read();
                if (ahead.TokenType != JsonTokenType.String) break;
            }
        }
        catch (JsonException)
        {
            return count;
        }
        return count;
    }

    private readonly bool AddKey(JsonKeyTable keys) => keys.TryAdd((int)_reader.TokenStartIndex, _reader.ValueSpan.Length, _reader.ValueIsEscaped);

    private readonly void RequireKey(string kind)
    {
        if (_reader.ValueSpan.Length > SafetensorsLimits.KeyBytes)
            throw Fail($"{kind} is {_reader.ValueSpan.Length} bytes long", _reader.TokenStartIndex, $"the limit is {SafetensorsLimits.KeyBytes}", "use a shorter one");
        RequireUnicode(kind);
    }

    private readonly void RequireUnicode(string what)
    {
        if (_reader.ValueIsEscaped && JsonText.HasLoneSurrogate(_reader.ValueSpan))
            throw Fail($"{what} holds half a surrogate pair", _reader.TokenStartIndex, "its escapes spell no Unicode character", Rewrite);
    }

    private readonly void RequireUtf8()
    {
        if (Utf8.IsValid(_json.Span)) return;
        ReadOnlySpan<byte> rest = _json.Span;
        while (Rune.DecodeFromUtf8(rest, out _, out int consumed) == OperationStatus.Done) rest = rest[consumed..];
        throw Fail("the header is not valid UTF-8", _json.Length - rest.Length, $"byte 0x{rest[0]:X2} cannot stand there", Rewrite);
    }

    private readonly CheckpointFormatException Fail(string what, long at, string reason, string fix, Exception? inner = null) =>
        new(what, _path, SafetensorsContainer.Prefix + at, reason, fix, inner);
}
