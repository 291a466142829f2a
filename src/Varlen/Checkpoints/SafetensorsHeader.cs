using System.Text.Json;

namespace Varlen.Checkpoints;

/// <summary>
/// A validated safetensors header. A tensor is a compact record until asked for, so that a header of a million tensors
/// costs less than four times its text. Immutable, safe to share between threads.
/// </summary>
internal sealed class SafetensorsHeader
{
    private readonly ReadOnlyMemory<byte> _json;
    private readonly JsonKeyTable _names;
    private readonly SafetensorsRecord[] _records;
    private readonly string _path;

    internal SafetensorsHeader(ReadOnlyMemory<byte> json, string path, JsonKeyTable names, SafetensorsRecord[] records, SafetensorsMetadata metadata)
    {
        (_json, _path, _names, _records, Metadata) = (json, path, names, records, metadata);
    }

    public int Count => _names.Count;

    public SafetensorsMetadata Metadata { get; }

    /// <summary>Byte of the file where the tensors' data begins.</summary>
    public long DataStart => SafetensorsContainer.Prefix + _json.Length;

    /// <summary>
    /// Reads a header from memory: everything is checked before anything is returned. A pure function, which keeps
    /// <paramref name="start"/> and allocates at most about three times its length besides.
    /// </summary>
    /// <param name="start">The file's bytes from 0, at least to the end of the header.</param>
    /// <param name="fileLength">Bytes of the whole file.</param>
    /// <param name="path">Named in errors.</param>
    /// <exception cref="CheckpointFormatException">The header breaks a rule of the format.</exception>
    public static SafetensorsHeader Parse(ReadOnlyMemory<byte> start, long fileLength, string path = "")
    {
        int length = SafetensorsContainer.ReadHeaderLength(start.Span, fileLength, path);
        return new SafetensorsHeaderParser(start.Slice(SafetensorsContainer.Prefix, length), fileLength, path).Parse();
    }

    public string NameOf(int index) => _names[index];

    public SafetensorsEntry this[int index] => Entry(index, _names[index]);

    public SafetensorsEntry? Find(string name) => _names.IndexOf(name) is >= 0 and int index ? Entry(index, name) : null;

    private SafetensorsEntry Entry(int index, string name)
    {
        ref readonly SafetensorsRecord record = ref _records[index];
        var shape = new long[record.Rank];
        var reader = new Utf8JsonReader(_json.Span[record.ShapeStart..]);
        reader.Read();
        for (int i = 0; i < shape.Length; i++)
        {
            reader.Read();
            shape[i] = reader.GetInt64();
        }
        return new(_path, name, SafetensorsElement.All[record.Element], shape, DataStart + record.Begin, DataStart + record.End);
    }
}

/// <summary>A tensor as the header gives it: its bytes relative to the data, and where its shape is written.</summary>
internal readonly record struct SafetensorsRecord(long Begin, long End, int ShapeStart, byte Rank, byte Element)
{
    public bool IsEmpty => Begin == End;
}
