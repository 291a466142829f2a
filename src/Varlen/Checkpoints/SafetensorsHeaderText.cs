using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Varlen.Checkpoints;

/// <summary>The beginning of a safetensors file: the length field and the JSON, padded so that the data is aligned.</summary>
internal static class SafetensorsHeaderText
{
    private const int Alignment = 8;
    private static readonly UTF8Encoding Strict = new(false, throwOnInvalidBytes: true);
    // Names stay readable: the header is not embedded in a page.
    private static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>The bytes before the data of these tensors, in this order.</summary>
    public static byte[] Make(ReadOnlySpan<SafetensorsTensor> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        var json = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(json, Options))
        {
            writer.WriteStartObject();
            if (metadata is { Count: > 0 }) WriteMetadata(writer, metadata);
            WriteTensors(writer, tensors);
            writer.WriteEndObject();
        }
        int length = (json.WrittenCount + Alignment - 1) / Alignment * Alignment;
        if (length > SafetensorsLimits.HeaderBytes)
            throw new ArgumentException($"the header would take {length} bytes, and the format allows {SafetensorsLimits.HeaderBytes}; write several files", nameof(tensors));
        var text = new byte[SafetensorsContainer.Prefix + length];
        BinaryPrimitives.WriteUInt64LittleEndian(text, (ulong)length);
        json.WrittenSpan.CopyTo(text.AsSpan(SafetensorsContainer.Prefix));
        text.AsSpan(SafetensorsContainer.Prefix + json.WrittenCount).Fill((byte)' ');
        return text;
    }

    private static void WriteMetadata(Utf8JsonWriter writer, IReadOnlyDictionary<string, string> metadata)
    {
        if (metadata.Count > SafetensorsLimits.MetadataEntries)
            throw new ArgumentException($"the metadata has {metadata.Count} keys, and the limit is {SafetensorsLimits.MetadataEntries}", nameof(metadata));
        writer.WriteStartObject("__metadata__");
        foreach ((string key, string value) in metadata.OrderBy(pair => pair.Key, StringComparer.Ordinal))
        {
            RequireKey(key, "metadata key", nameof(metadata));
            RequireUnicode(value, $"the metadata value of {JsonText.Quote(key)}", nameof(metadata));
            writer.WriteString(key, value);
        }
        writer.WriteEndObject();
    }

    private static void WriteTensors(Utf8JsonWriter writer, ReadOnlySpan<SafetensorsTensor> tensors)
    {
        if (tensors.Length > SafetensorsLimits.Tensors)
            throw new ArgumentException($"there are {tensors.Length} tensors, and the limit is {SafetensorsLimits.Tensors}; write several files", nameof(tensors));
        var names = new HashSet<string>(StringComparer.Ordinal);
        long begin = 0;
        foreach (SafetensorsTensor tensor in tensors)
        {
            RequireKey(tensor.Name, "tensor name", nameof(tensors));
            if (tensor.Name == "__metadata__") throw new ArgumentException("a tensor is named '__metadata__', which the format reserves; rename it", nameof(tensors));
            if (!names.Add(tensor.Name)) throw new ArgumentException($"two tensors are named {JsonText.Quote(tensor.Name)}; names must differ", nameof(tensors));
            if (tensor.ByteLength > long.MaxValue - begin)
                throw new ArgumentException($"tensor {JsonText.Quote(tensor.Name)} takes the file past 63 bits; write several files", nameof(tensors));
            long end = begin + tensor.ByteLength;
            writer.WriteStartObject(tensor.Name);
            writer.WriteString("dtype", SafetensorsElement.Of(tensor.DType).Code);
            writer.WriteStartArray("shape");
            foreach (long size in tensor.Shape) writer.WriteNumberValue(size);
            writer.WriteEndArray();
            writer.WriteStartArray("data_offsets");
            writer.WriteNumberValue(begin);
            writer.WriteNumberValue(end);
            writer.WriteEndArray();
            writer.WriteEndObject();
            begin = end;
        }
    }

    // Measured as the reader measures it: in bytes of the text between the quotes.
    private static void RequireKey(string key, string kind, string parameter)
    {
        RequireUnicode(key, $"a {kind}", parameter);
        int length = JsonEncodedText.Encode(key, Options.Encoder).EncodedUtf8Bytes.Length;
        if (length > SafetensorsLimits.KeyBytes)
            throw new ArgumentException($"a {kind} takes {length} bytes, and the limit is {SafetensorsLimits.KeyBytes}; use a shorter one", parameter);
    }

    private static void RequireUnicode(string text, string what, string parameter)
    {
        try
        {
            Strict.GetByteCount(text);
        }
        catch (EncoderFallbackException cause)
        {
            throw new ArgumentException($"{what} holds half a surrogate pair at index {cause.Index}, which is no Unicode text; correct it", parameter, cause);
        }
    }
}
