using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;

namespace Varlen.Cli.Terminal;

/// <summary>Options whose values are checked while parsing, with messages that name the option, the value and what is allowed.</summary>
internal static class OptionParsers
{
    /// <summary>A whole number from a range; null when the option is absent.</summary>
    public static Option<int?> Integer(string name, int least, int most, string description, string valueName = "N") => Make<int?>(name, valueName, description, text =>
        int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value) && value >= least && value <= most ? value : throw Bad(name, text, $"a whole number from {least} to {most}"));

    /// <summary>An unsigned 64-bit number; null when the option is absent.</summary>
    public static Option<ulong?> Seed(string description) => Make<ulong?>("--seed", "N", description, text =>
        ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out ulong value) ? value : throw Bad("--seed", text, $"a whole number from 0 to {ulong.MaxValue}"));

    /// <summary>A number that passes a test; null when the option is absent.</summary>
    public static Option<double?> Number(string name, string valueName, Func<double, bool> accepts, string expected, string description) => Make<double?>(name, valueName, description, text =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value) && accepts(value) ? value : throw Bad(name, text, expected));

    /// <summary>One of a few words; null when the option is absent.</summary>
    public static Option<T?> Choice<T>(string name, string description, params (string Word, T Value)[] choices) where T : struct
    {
        string expected = string.Join('|', choices.Select(c => c.Word));
        return Make<T?>(name, expected, description, text =>
        {
            foreach ((string word, T value) in choices)
                if (word == text) return value;
            throw CommandException.Usage($"{name} does not know '{text}'", fix: Spelling.Nearest(text, choices.Select(c => c.Word)) is { } near ? $"did you mean {near}?" : $"use one of {expected}");
        });
    }

    /// <summary>A value parsed by <paramref name="parse"/>, which throws <see cref="CommandException"/>.</summary>
    public static Option<T> Make<T>(string name, string valueName, string description, Func<string, T> parse) => new(name)
    {
        Description = description,
        HelpName = valueName,
        CustomParser = result => parse(result.Tokens[0].Value),
    };

    /// <summary>The error of a value that is not what the option takes.</summary>
    public static CommandException Bad(string name, string text, string expected) => CommandException.Usage($"{name} cannot be '{text}'", fix: $"give {expected}");
}
