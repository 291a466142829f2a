using System.Text;
using System.Text.Json;
using System.Text.Unicode;
using Varlen.Data;
using Varlen.Text;

namespace Varlen.Auditing;

/// <summary>
/// Documents of text and jsonl files as a plain loop reads them: a file at once, a line at once, each document handed to the tokenizer by
/// itself. Shares no code with <see cref="TextCorpus"/>, which it is there to be compared with.
/// </summary>
public static class AuditedText
{
    // TextCorpus cuts a word above it for the tokenizer.
    private const int LongestWord = 1 << 18;

    /// <summary>Reads files.</summary>
    /// <param name="files">The files, in order; those ending in .jsonl or .ndjson hold records, of which ones that are none are passed over.</param>
    /// <param name="tokenizer">Text to ids.</param>
    /// <param name="options">What records hold; the defaults when null.</param>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public static IEnumerable<AuditedDocument> Read(IEnumerable<string> files, Tokenizer tokenizer, TextCorpusOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(files);
        ArgumentNullException.ThrowIfNull(tokenizer);
        foreach (string file in files)
        {
            byte[] content = File.ReadAllBytes(file);
            ReadOnlyMemory<byte> text = content.AsSpan().StartsWith("\uFEFF"u8) ? content.AsMemory(3) : content;
            if (Path.GetExtension(file).ToUpperInvariant() is not (".JSONL" or ".NDJSON"))
            {
                if (!text.IsEmpty) yield return Encode(file, tokenizer, [(text, null, true)], ends: true);
                continue;
            }
            int number = 0;
            foreach (ReadOnlyMemory<byte> line in Lines(text))
            {
                number++;
                if (Parts(line, options ?? new(), out bool ends) is { } parts && parts.Exists(part => part.Token is not null || !part.Text.IsEmpty)) yield return Encode($"{file}:{number}", tokenizer, parts, ends);
            }
        }
    }

    private static IEnumerable<ReadOnlyMemory<byte>> Lines(ReadOnlyMemory<byte> text)
    {
        while (!text.IsEmpty)
        {
            int end = text.Span.IndexOf((byte)'\n');
            yield return end < 0 ? text : text[..end];
            text = end < 0 ? default : text[(end + 1)..];
        }
    }

    // What a record consists of: texts or special tokens, and whether each is trained. Null where it is no record.
    private static List<(ReadOnlyMemory<byte> Text, int? Token, bool Trained)>? Parts(ReadOnlyMemory<byte> line, TextCorpusOptions options, out bool ends)
    {
        ends = true;
        if (!Utf8.IsValid(line.Span)) return null;
        try
        {
            using JsonDocument document = JsonDocument.Parse(line, new JsonDocumentOptions { AllowDuplicateProperties = false });
            JsonElement record = document.RootElement;
            if (record.ValueKind != JsonValueKind.Object) return null;
            if (record.TryGetProperty(options.TextField ?? "text", out JsonElement text)) return [(Utf8Of(text), null, true)];
            if (options.TextField is not null) return null;
            if (record.TryGetProperty("completion", out JsonElement completion)) return [(Utf8Of(record.GetProperty("prompt")), null, false), (Utf8Of(completion), null, true)];
            ends = false;
            ChatMessage[] messages = [.. record.GetProperty("messages").EnumerateArray().Select(message => new ChatMessage(message.GetProperty("role").GetString()!, message.GetProperty("content").GetString()!))];
            return options.ChatFormat is { } format ? [.. format.Render(messages).Select(part => ((ReadOnlyMemory<byte>)Encoding.UTF8.GetBytes(part.Text), part.Token, part.Trained))] : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException or ArgumentException)
        {
            return null;
        }
    }

    private static ReadOnlyMemory<byte> Utf8Of(JsonElement field)
        => field.ValueKind == JsonValueKind.String ? Encoding.UTF8.GetBytes(field.GetString()!) : throw new InvalidOperationException("the field is no string");

    private static AuditedDocument Encode(string source, Tokenizer tokenizer, List<(ReadOnlyMemory<byte> Text, int? Token, bool Trained)> parts, bool ends)
    {
        List<int> ids = [];
        List<bool> trained = [];
        foreach ((ReadOnlyMemory<byte> text, int? token, bool isTrained) in parts)
        {
            if (HasCutWord(text.Span)) return new(source, null);
            if (token is { } id) ids.Add(id);
            else tokenizer.Encode(text.Span, ids);
            while (trained.Count < ids.Count) trained.Add(isTrained);
        }
        if (ends)
        {
            ids.Add(tokenizer.EndOfText);
            trained.Add(true);
        }
        return new(source, ids.ToArray(), trained.Contains(false) ? (ReadOnlyMemory<bool>?)trained.ToArray() : null);
    }

    private static bool HasCutWord(ReadOnlySpan<byte> text)
    {
        while (text.Length > LongestWord)
        {
            int word = text.IndexOfAny(" \t\r\n"u8);
            if (word < 0 || word > LongestWord) return true;
            text = text[(word + 1)..];
        }
        return false;
    }
}
