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
    /// <param name="textField">The field of a record that holds its text.</param>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public static IEnumerable<AuditedDocument> Read(IEnumerable<string> files, Tokenizer tokenizer, string textField = "text")
    {
        ArgumentNullException.ThrowIfNull(files);
        ArgumentNullException.ThrowIfNull(tokenizer);
        foreach (string file in files)
        {
            byte[] content = File.ReadAllBytes(file);
            ReadOnlyMemory<byte> text = content.AsSpan().StartsWith("\uFEFF"u8) ? content.AsMemory(3) : content;
            if (Path.GetExtension(file).ToUpperInvariant() is not (".JSONL" or ".NDJSON"))
            {
                if (!text.IsEmpty) yield return new(file, Encode(tokenizer, text.Span));
                continue;
            }
            int number = 0;
            foreach (ReadOnlyMemory<byte> line in Lines(text))
            {
                number++;
                if (Field(line, textField) is { Length: > 0 } field) yield return new($"{file}:{number}", Encode(tokenizer, Encoding.UTF8.GetBytes(field)));
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

    private static string? Field(ReadOnlyMemory<byte> line, string name)
    {
        if (!Utf8.IsValid(line.Span)) return null;
        try
        {
            using JsonDocument record = JsonDocument.Parse(line, new JsonDocumentOptions { AllowDuplicateProperties = false });
            return record.RootElement.ValueKind == JsonValueKind.Object && record.RootElement.TryGetProperty(name, out JsonElement field) && field.ValueKind == JsonValueKind.String ? field.GetString() : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return null;
        }
    }

    private static ReadOnlyMemory<int>? Encode(Tokenizer tokenizer, ReadOnlySpan<byte> text)
    {
        for (ReadOnlySpan<byte> rest = text; rest.Length > LongestWord;)
        {
            int word = rest.IndexOfAny(" \t\r\n"u8);
            if (word < 0 || word > LongestWord) return null;
            rest = rest[(word + 1)..];
        }
        List<int> ids = [];
        tokenizer.Encode(text, ids);
        ids.Add(tokenizer.EndOfText);
        return ids.ToArray();
    }
}
