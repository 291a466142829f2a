using System.CommandLine;
using Varlen.Cli.Terminal;
using Varlen.Data;

namespace Varlen.Cli.Commands;

/// <summary>Options of all commands that read texts.</summary>
internal static class TextOptions
{
    /// <summary>--text-field.</summary>
    public static readonly Option<string?> Field = new("--text-field") { Description = "The field of a jsonl record that holds its text. By default a record has text, or prompt and completion, or messages.", HelpName = "NAME" };

    /// <summary>--bad-lines.</summary>
    public static readonly Option<BadLines?> BadLines = OptionParsers.Choice("--bad-lines", "What a line means that is no valid jsonl record: stop (by default), or skip and count it.",
        ("stop", Data.BadLines.Stop), ("skip", Data.BadLines.Skip));

    /// <summary>How the command line wants texts to be read.</summary>
    public static TextCorpusOptions Reading(ParseResult parse) => new() { TextField = parse.GetValue(Field), BadLines = parse.GetValue(BadLines) ?? Data.BadLines.Stop };
}
