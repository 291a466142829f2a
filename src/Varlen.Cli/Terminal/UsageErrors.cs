using System.CommandLine;
using System.CommandLine.Parsing;

namespace Varlen.Cli.Terminal;

/// <summary>Words a command line that does not parse as one short message with a suggestion, instead of a page of help.</summary>
internal static class UsageErrors
{
    /// <summary>Throws for the first thing wrong with a command line; returns when nothing is.</summary>
    /// <exception cref="CommandException">With the code for wrong usage.</exception>
    public static void ThrowIfAny(ParseResult parse)
    {
        Command command = parse.CommandResult.Command;
        string help = $"see {Path(parse.CommandResult)} --help";
        // A misspelt option may sit in an argument's place, and is the cause of whatever else is wrong.
        bool literal = false;
        foreach (Token token in parse.Tokens)
        {
            if (token.Type == TokenType.DoubleDash) literal = true;
            if (!literal && token.Type == TokenType.Argument && IsOptionLike(token.Value) && !IsOptionValue(parse, token)) throw Unknown("option", token.Value, OptionNames(parse), help);
        }
        if (parse.Errors.Count == 0) return;
        if (parse.UnmatchedTokens is [string stray, ..])
        {
            throw command.Subcommands.Count > 0
                ? Unknown("command", stray, command.Subcommands.Select(c => c.Name), help)
                : CommandException.Usage($"unexpected argument '{stray}'", fix: help);
        }
        if (command.Subcommands.Count > 0 && parse.CommandResult.Tokens.Count == 0)
            throw CommandException.Usage("no command given", $"the commands are {string.Join(", ", command.Subcommands.Select(c => c.Name))}", help);
        throw CommandException.Usage(parse.Errors[0].Message.TrimEnd('.'), fix: help);
    }

    private static CommandException Unknown(string kind, string word, IEnumerable<string> candidates, string help)
        => CommandException.Usage($"unknown {kind} {word}", fix: Spelling.Nearest(word, candidates) is { } near ? $"did you mean {near}?" : help);

    // Numbers such as -1,0 are values.
    private static bool IsOptionLike(string word) => word.Length > 1 && word[0] == '-' && !char.IsAsciiDigit(word[1]) && word[1] != '.' && word[1] != ',';

    private static bool IsOptionValue(ParseResult parse, Token token)
        => parse.CommandResult.Children.OfType<OptionResult>().Any(option => option.Tokens.Contains(token));

    private static IEnumerable<string> OptionNames(ParseResult parse)
        => Chain(parse.CommandResult).SelectMany(result => result.Command.Options.Where(option => option.Recursive || result == parse.CommandResult)).Select(option => option.Name);

    private static string Path(CommandResult result) => string.Join(' ', Chain(result).Reverse().Select(r => r.Command is RootCommand ? "varlen" : r.Command.Name));

    private static IEnumerable<CommandResult> Chain(CommandResult? result)
    {
        for (; result is not null; result = result.Parent as CommandResult) yield return result;
    }
}
