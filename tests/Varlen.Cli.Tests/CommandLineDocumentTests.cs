using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Varlen.Cli.Terminal;
using Xunit;

namespace Varlen.Cli.Tests;

/// <summary>docs/command-line.md describes the program as it is: commands, options, exit codes and the keys of JSON.</summary>
public sealed partial class CommandLineDocumentTests
{
    private const string Page = "docs/command-line.md";

    [Fact]
    public void EveryCommandHasASectionAndEverySectionACommand()
    {
        string[] sections = [.. Section().Matches(Documents.Read(Page)).Select(match => match.Groups[1].Value).Order(StringComparer.Ordinal)];
        Assert.Equal(Subcommands([]).Order(StringComparer.Ordinal), sections);
    }

    [Fact]
    public void OptionsAreThoseOfTheHelp()
    {
        Dictionary<string, SortedSet<string>> documented = Synopses();
        foreach (string[] command in Subcommands([]).SelectMany(name => Subcommands([name]) is { Length: > 0 } children ? children.Select(child => (string[])[name, child]) : [[name]]))
        {
            string name = string.Join(' ', command);
            Assert.True(documented.Remove(name, out SortedSet<string>? options), $"{Page} has no synopsis of varlen {name}");
            Assert.Equal(HelpOption().Matches(Help(command)).Select(match => match.Groups[1].Value).Except(["--help", "--verbose"]).Order(StringComparer.Ordinal), options);
        }
        Assert.Empty(documented.Keys);
    }

    [Fact]
    public void KeysOfJsonAreDescribed()
    {
        using TemporaryFolder folder = Documents.Workplace();
        foreach (string command in new[]
        {
            "train texts chat.jsonl --steps 1 --out run --json", "train texts --steps 2 --stop-after 1 --out stopped --json", "evaluate run texts --json", "generate run --max-tokens 5 --json",
            "inspect texts --json", "audit run --documents 2 --json", "info --json", "attention batch.safetensors out.safetensors --json",
            "bench step --lengths fixed:4x2 --layers 1 --width 8 --rounds 1 --warmup 0 --json", "bench gpt2 --lengths fixed:4x2 --layers 1 --width 8 --rounds 1 --warmup 0 --json",
            "bench attention --lengths fixed:16x2 --rounds 1 --json", "bench matmul --rounds 1 --json", "bench ops --tokens 16 --features 16 --rounds 1 --json",
            "bench generate --layers 1 --width 8 --heads 2 --vocabulary 16 --lengths fixed:4x2 --max-tokens 3 --rounds 1 --json",
        })
        {
            CliResult result = Cli.RunIn(folder.Path, command.Split(' '));
            Assert.True(result.ExitCode == 0, $"varlen {command}: {result.Error}");
            var described = Code().Matches(SectionOf(command.Split(' ')[0])).Select(match => match.Groups[1].Value).ToHashSet();
            var keys = new SortedSet<string>();
            foreach (string line in result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries)) Collect(JsonDocument.Parse(line).RootElement, keys);
            Assert.True(keys.IsSubsetOf(described), $"{Page} does not describe {string.Join(", ", keys.Except(described))} of varlen {command}");
        }
    }

    [Fact]
    public void ExitCodesAreThoseOfTheProgram()
    {
        foreach (ExitCode code in Enum.GetValues<ExitCode>())
            Assert.Matches($@"\n\| (\d+, )?{(int)code}(, \d+)? \|", Documents.Read(Page));
    }

    [Fact]
    public void DefaultsOfTrainAreThoseOfARun()
    {
        using TemporaryFolder folder = Documents.Workplace();
        CliResult result = Cli.RunIn(folder.Path, "train", "texts", "--steps", "1", "--out", "run");
        Assert.True(result.ExitCode == 0, result.Error);
        JsonElement config = JsonDocument.Parse(File.ReadAllText(folder.File("run/config.json"))).RootElement, training = config.GetProperty("training");
        foreach ((string option, JsonElement value) in new[]
        {
            ("--context", config.GetProperty("context")), ("--batch-tokens", config.GetProperty("batch_tokens")), ("--seed", config.GetProperty("seed")),
            ("--micro-batches", training.GetProperty("micro_batches")), ("--lr", training.GetProperty("learning_rate")), ("--clip", training.GetProperty("clip_norm")), ("--weight-decay", training.GetProperty("weight_decay")),
        })
        {
            Match row = Regex.Match(SectionOf("train"), $@"\| `{option}` \| ([0-9.e-]+)");
            Assert.True(row.Success && double.Parse(row.Groups[1].Value, CultureInfo.InvariantCulture) == value.GetDouble(), $"{Page} gives {option} the default {row.Groups[1].Value}, and it is {value}");
        }
    }

    private static string Help(params string[] command)
    {
        CliResult result = Cli.Run([.. command, "--help"]);
        Assert.True(result.ExitCode == 0, result.Error);
        return result.Output;
    }

    private static string[] Subcommands(string[] command)
        => Help(command).ReplaceLineEndings("\n").Split("\nCommands:\n") is [_, string list] ? [.. list.Split('\n').TakeWhile(line => line.StartsWith(' ')).Select(line => line.Trim().Split(' ')[0])] : [];

    // A synopsis begins with the command; further lines of it are indented.
    private static Dictionary<string, SortedSet<string>> Synopses()
    {
        var options = new Dictionary<string, SortedSet<string>>();
        foreach (string line in Documents.Blocks(Page).Where(block => block.Language == "text" && block.Lines[0].StartsWith("varlen ", StringComparison.Ordinal)).SelectMany(block => string.Join('\n', block.Lines).Replace("\n ", " ", StringComparison.Ordinal).Split('\n')))
        {
            string name = string.Join(' ', line.Split(' ').Skip(1).TakeWhile(word => word.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c))));
            if (!options.TryGetValue(name, out SortedSet<string>? known)) options[name] = known = new(StringComparer.Ordinal);
            known.UnionWith(LongOption().Matches(line).Select(match => match.Value));
        }
        return options;
    }

    private static string SectionOf(string command)
    {
        string text = Documents.Read(Page);
        int start = text.IndexOf($"\n## varlen {command}\n", StringComparison.Ordinal);
        Assert.True(start >= 0, $"{Page} has no section of varlen {command}");
        int end = text.IndexOf("\n## ", start + 1, StringComparison.Ordinal);
        return end < 0 ? text[start..] : text[start..end];
    }

    private static void Collect(JsonElement element, SortedSet<string> keys)
    {
        if (element.ValueKind == JsonValueKind.Array)
            foreach (JsonElement item in element.EnumerateArray()) Collect(item, keys);
        if (element.ValueKind != JsonValueKind.Object) return;
        foreach (JsonProperty property in element.EnumerateObject())
        {
            keys.Add(property.Name);
            Collect(property.Value, keys);
        }
    }

    [GeneratedRegex(@"^## varlen ([a-z]+)$", RegexOptions.Multiline)]
    private static partial Regex Section();

    [GeneratedRegex(@"^\s+(?:-\w, )?(--[a-z-]+)", RegexOptions.Multiline)]
    private static partial Regex HelpOption();

    [GeneratedRegex(@"(?<![\w-])--[a-z][a-z-]*")]
    private static partial Regex LongOption();

    [GeneratedRegex("`([a-z0-9_]+)`")]
    private static partial Regex Code();
}
