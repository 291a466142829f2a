using System.Text.Json;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Generation;

/// <summary>A text to go on with, and a seed of its own if it has one.</summary>
internal readonly record struct PromptText(string Text, long? Seed);

/// <summary>Prompts from a file or the standard input, read as they are wanted.</summary>
internal static class PromptFile
{
    private const string StandardInput = "-", Fix = "give a file with a prompt in each line, or jsonl records such as {\"prompt\": \"Once\", \"seed\": 3}";

    /// <summary>Opens a file; a name that ends in <c>.jsonl</c> has records.</summary>
    /// <param name="path">Its path; <c>-</c> is the standard input.</param>
    /// <exception cref="CommandException">It cannot be read (66); or, as its lines are read, one is no record (65).</exception>
    public static IEnumerable<PromptText> Read(string path)
    {
        TextReader reader;
        try
        {
            reader = path == StandardInput ? Console.In : new StreamReader(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new CommandException(ExitCode.InputUnreadable, "cannot read the prompts", path, e.Message, Fix, e);
        }
        return Lines(reader, path, path.EndsWith(".jsonl", StringComparison.Ordinal));
    }

    private static IEnumerable<PromptText> Lines(TextReader reader, string path, bool records)
    {
        using (reader)
        {
            int number = 0;
            while (reader.ReadLine() is { } line)
            {
                number++;
                if (!records) yield return new PromptText(line, null);
                else if (!string.IsNullOrWhiteSpace(line)) yield return Record(line, $"{path}:{number}");
            }
            if (number == 0) throw new CommandException(ExitCode.BadData, "there are no prompts", path, "the file is empty", Fix);
        }
    }

    private static PromptText Record(string line, string where)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(line);
            JsonElement root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object || !root.TryGetProperty("prompt", out JsonElement prompt) || prompt.ValueKind != JsonValueKind.String)
                throw new CommandException(ExitCode.BadData, "a line is no prompt", where, "it has no field \"prompt\" that is a string", Fix);
            if (!root.TryGetProperty("seed", out JsonElement seed)) return new PromptText(prompt.GetString()!, null);
            return seed.ValueKind == JsonValueKind.Number && seed.TryGetInt64(out long value) && value >= 0
                ? new PromptText(prompt.GetString()!, value) : throw new CommandException(ExitCode.BadData, "a line is no prompt", where, "its field \"seed\" is no whole number of at least 0", Fix);
        }
        catch (JsonException e)
        {
            throw new CommandException(ExitCode.BadData, "a line is no prompt", where, $"it is no JSON: {e.Message}", Fix, e);
        }
    }
}
