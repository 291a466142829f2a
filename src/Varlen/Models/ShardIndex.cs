using System.Text.Json;
using Varlen.Checkpoints;

namespace Varlen.Models;

/// <summary>
/// A <c>model.safetensors.index.json</c>: which shard holds each tensor. Nobody vouches for it, so a shard is a plain name of a safetensors
/// file beside the index, and nothing else.
/// </summary>
internal sealed class ShardIndex
{
    private const string Map = "weight_map", Fix = "use the index that was saved with the weights";
    private const int MaxBytes = 64 << 20, MaxDepth = 16, MaxTensors = 1 << 18, MaxShards = 4096;

    private ShardIndex(string path) => Path = path;

    /// <summary>The index.</summary>
    public string Path { get; }

    /// <summary>Names of the shards.</summary>
    public SortedSet<string> Shards { get; } = new(StringComparer.Ordinal);

    /// <summary>The shard of each tensor.</summary>
    public Dictionary<string, string> Tensors { get; } = new(StringComparer.Ordinal);

    /// <exception cref="CheckpointFormatException">The index is too large, no valid JSON, or breaks a rule.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static ShardIndex Open(string path)
    {
        var index = new ShardIndex(path);
        byte[] bytes;
        using (FileStream stream = File.OpenRead(path))
        {
            if (stream.Length > MaxBytes) throw index.Bad("the index is too large", MaxBytes, $"the limit is {MaxBytes} bytes");
            bytes = new byte[stream.Length];
            bytes = bytes[..stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false)];
        }
        var reader = new Utf8JsonReader(bytes, new JsonReaderOptions { MaxDepth = MaxDepth });
        try
        {
            index.Parse(ref reader);
        }
        catch (Exception cause) when (cause is JsonException or InvalidOperationException)
        {
            throw new CheckpointFormatException("the index is no valid JSON", path, reader.TokenStartIndex, cause.Message, Fix, cause);
        }
        return index;
    }

    private void Parse(ref Utf8JsonReader reader)
    {
        reader.Read();
        if (reader.TokenType != JsonTokenType.StartObject) throw Bad("the index is no object", reader.TokenStartIndex, $"it holds {Map}");
        bool found = false;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            bool isMap = reader.ValueTextEquals(Map);
            long offset = reader.TokenStartIndex;
            reader.Read();
            if (!isMap) reader.Skip();
            else if (found) throw Bad($"{Map} stands there twice", offset, "which one holds is not defined");
            else ParseMap(ref reader);
            found |= isMap;
        }
        // Past the end, where anything else is an error of the reader's.
        reader.Read();
        if (!found) throw Bad($"{Map} is missing", 0, "it tells which shard holds each tensor");
    }

    private void ParseMap(ref Utf8JsonReader reader)
    {
        if (reader.TokenType != JsonTokenType.StartObject) throw Bad($"{Map} is no object", reader.TokenStartIndex, "it gives the shard of each tensor");
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string tensor = reader.GetString()!;
            long offset = reader.TokenStartIndex;
            reader.Read();
            string shard = reader.TokenType == JsonTokenType.String ? reader.GetString()! : throw Bad($"the shard of {JsonText.Quote(tensor)} is no string", reader.TokenStartIndex, "it is the name of a file");
            if (WhyNoShard(shard) is { } reason) throw Bad($"the shard of {JsonText.Quote(tensor)} is {JsonText.Quote(shard)}", reader.TokenStartIndex, reason);
            if (!Tensors.TryAdd(tensor, shard)) throw Bad($"{JsonText.Quote(tensor)} stands there twice", offset, "which shard holds it is not defined");
            Shards.Add(shard);
            if (Tensors.Count > MaxTensors || Shards.Count > MaxShards) throw Bad("the index is too large", offset, $"the limit is {MaxTensors} tensors in {MaxShards} shards");
        }
    }

    // By characters and not by the system's rules, so that a folder means the same everywhere.
    private static string? WhyNoShard(string name)
    {
        const string extension = ".safetensors";
        if (name.AsSpan().IndexOfAny("/\\:") >= 0) return "a shard lies beside its index: its name has no folder in it";
        if (name.Any(char.IsControl)) return "the name has control characters";
        if (!name.EndsWith(extension, StringComparison.Ordinal)) return "only safetensors files are read; a Python pickle may run code and never is";
        return name.Length == extension.Length || name.Length > 255 ? "it is no name of a file" : null;
    }

    private CheckpointFormatException Bad(string what, long offset, string reason) => new(what, Path, offset, reason, Fix);
}
