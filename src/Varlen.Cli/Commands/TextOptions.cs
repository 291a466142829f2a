using System.CommandLine;
using Varlen.Cli.Terminal;
using Varlen.Data;
using Varlen.Text;

namespace Varlen.Cli.Commands;

/// <summary>Options of all commands that read texts.</summary>
internal static class TextOptions
{
    /// <summary>--text-field.</summary>
    public static readonly Option<string?> Field = new("--text-field") { Description = "The field of a jsonl record that holds its text. By default a record has text, or prompt and completion, or messages.", HelpName = "NAME" };

    /// <summary>--bad-lines.</summary>
    public static readonly Option<BadLines?> BadLines = OptionParsers.Choice("--bad-lines", "What a line means that is no valid jsonl record: stop (by default), or skip and count it.",
        ("stop", Data.BadLines.Stop), ("skip", Data.BadLines.Skip));

    /// <summary>--chat-format.</summary>
    public static readonly Option<string?> Chat = OptionParsers.Make<string?>("--chat-format", string.Join('|', ChatFormat.Names.Prepend("auto")), "How messages become text: auto (by default) is the model's own format, or plain without one.",
        text => text == "auto" || ChatFormat.Names.Contains(text) ? text : throw CommandException.Usage($"--chat-format does not know '{text}'", fix: $"use auto, {string.Join(", ", ChatFormat.Names)}"));

    /// <summary>How the command line wants texts to be read, and messages by the format of a model's folder.</summary>
    public static TextCorpusOptions Reading(ParseResult parse, string? folder, Tokenizer tokenizer)
        => Reading(parse) with { ChatFormat = () => Format(parse.GetValue(Chat) ?? "auto", folder, tokenizer) };

    private static ChatFormat Format(string name, string? folder, Tokenizer tokenizer)
    {
        try
        {
            return name == "auto" ? ChatFormat.Of(folder, tokenizer) : ChatFormat.Create(name, tokenizer);
        }
        catch (ArgumentException e)
        {
            throw CommandException.Usage(e.Message);
        }
    }

    /// <summary>How the command line wants texts to be read.</summary>
    public static TextCorpusOptions Reading(ParseResult parse) => new() { TextField = parse.GetValue(Field), BadLines = parse.GetValue(BadLines) ?? Data.BadLines.Stop };
}
