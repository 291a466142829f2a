using System.Buffers;
using System.Globalization;
using System.Text.Json;

namespace Varlen.Checkpoints;

/// <summary>
/// The list of a checkpoint's files, written last. Its text has one form only, so that a changed bit anywhere in it shows: what is parsed
/// must give the same bytes when written again.
/// </summary>
internal sealed record CheckpointManifest(long Step, IReadOnlyList<CheckpointFile> Files)
{
    public const string FileName = "manifest.json";
    public const int Format = 1;
    public const int LargestText = 1 << 20;

    public byte[] ToBytes()
    {
        var text = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(text, new JsonWriterOptions { Indented = true, NewLine = "\n" }))
        {
            writer.WriteStartObject();
            writer.WriteNumber("format", Format);
            writer.WriteNumber("step", Step);
            writer.WriteStartArray("files");
            foreach (CheckpointFile file in Files)
            {
                writer.WriteStartObject();
                writer.WriteString("name", file.Name);
                writer.WriteNumber("size", file.Size);
                writer.WriteString("sha256", file.Sha256);
                writer.WriteEndObject();
            }
            writer.WriteEndArray();
            writer.WriteEndObject();
        }
        text.Write("\n"u8);
        return text.WrittenSpan.ToArray();
    }

    /// <summary>Parses and checks a manifest.</summary>
    /// <exception cref="CheckpointFormatException">It is no manifest of this format and step, or not in the form that <see cref="ToBytes"/> gives.</exception>
    public static CheckpointManifest Parse(byte[] text, string path, long step)
    {
        CheckpointManifest manifest;
        try
        {
            using JsonDocument document = JsonDocument.Parse(text, new JsonDocumentOptions { AllowDuplicateProperties = false, MaxDepth = 8 });
            JsonElement root = document.RootElement;
            if (root.GetProperty("format").GetInt32() is not Format and int format)
                throw Bad(path, 0, string.Create(CultureInfo.InvariantCulture, $"its format is {format}, and this version reads {Format}"), "use the version of Varlen that wrote it, or a newer one");
            manifest = new(root.GetProperty("step").GetInt64(), [.. root.GetProperty("files").EnumerateArray().Select(Read)]);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException or FormatException and not CheckpointFormatException)
        {
            throw Bad(path, e is JsonException { BytePositionInLine: { } at, LineNumber: 0 } ? at : 0, $"it is damaged: {e.Message}", Fix, e);
        }
        if (manifest.Step != step) throw Bad(path, 0, $"it belongs to step {manifest.Step}, its folder to step {step}", Fix);
        if (manifest.Files.FirstOrDefault(file => file.Size < 1 || !CheckpointFile.IsName(file.Name)) is { } bad) throw Bad(path, 0, $"it lists {JsonText.Quote(bad.Name)} of {bad.Size} bytes, which no checkpoint holds", Fix);
        int same = text.AsSpan().CommonPrefixLength(manifest.ToBytes());
        return same == text.Length && manifest.ToBytes().Length == text.Length ? manifest : throw Bad(path, same, "it is damaged there", Fix);
    }

    private const string Fix = "use another checkpoint";

    private static CheckpointFile Read(JsonElement file) => new(file.GetProperty("name").GetString() ?? "", file.GetProperty("size").GetInt64(), file.GetProperty("sha256").GetString() ?? "");

    private static CheckpointFormatException Bad(string path, long offset, string reason, string fix, Exception? inner = null) => new("the checkpoint's manifest cannot be used", path, offset, reason, fix, inner);
}
