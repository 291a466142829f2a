using System.Text.Json;
using Xunit;

namespace Varlen.Cli.Tests.Training;

/// <summary>varlen generate: what each option does to the texts of a small trained model.</summary>
public sealed class GenerateTests(StraightRun straight) : IClassFixture<StraightRun>
{
    private readonly Workspace _workspace = straight.Workspace;

    private CliResult Generate(params string[] arguments)
    {
        CliResult result = Cli.Run(["generate", straight.Folder, .. arguments]);
        Assert.True(result.ExitCode == 0, result.Error);
        return result;
    }

    private JsonElement[] Texts(params string[] arguments) => [.. Generate([.. arguments, "--json"]).Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonDocument.Parse(line).RootElement)];

    private string Text(params string[] arguments) => Assert.Single(Texts(arguments)).GetProperty("text").GetString()!;

    [Fact]
    public void OptionsThatChooseDoWhatTheySay()
    {
        string[] prompt = ["-p", "to be", "--max-tokens", "25"];
        string likeliest = Text([.. prompt, "--temperature", "0"]);
        Assert.Equal(likeliest, Text([.. prompt, "--temperature", "3", "--top-k", "1"]));
        Assert.Equal(likeliest, Text([.. prompt, "--temperature", "3", "--top-p", "0.000001", "--seed", "9"]));
        string drawn = Text([.. prompt, "--temperature", "3"]);
        Assert.NotEqual(likeliest, drawn);
        Assert.Equal(drawn, Text([.. prompt, "--temperature", "3", "--seed", "1", "--threads", "2"]));
        Assert.NotEqual(drawn, Text([.. prompt, "--temperature", "3", "--seed", "2"]));
        Assert.Equal(likeliest, Text([.. prompt, "--temperature", "0", "--repetition-penalty", "1"]));
        Assert.True(Text([.. prompt, "--temperature", "0", "--repetition-penalty", "2"]).Distinct().Count() > likeliest.Distinct().Count(), likeliest);
    }

    [Fact]
    public void TextsEndWhereTheyAreToldTo()
    {
        JsonElement whole = Assert.Single(Texts("-p", "to be", "--max-tokens", "25", "--temperature", "0"));
        string text = whole.GetProperty("text").GetString()!;
        Assert.Equal(("length", 25), (whole.GetProperty("end").GetString()!, whole.GetProperty("tokens").GetInt32()));
        JsonElement stopped = Assert.Single(Texts("-p", "to be", "--max-tokens", "25", "--temperature", "0", "--stop", "never there", "--stop", text.Substring(6, 2)));
        Assert.Equal("stop", stopped.GetProperty("end").GetString());
        Assert.Equal(text[..text.IndexOf(text.Substring(6, 2), StringComparison.Ordinal)], stopped.GetProperty("text").GetString());
        Assert.Equal("", Text("-p", "to be", "--max-tokens", "0"));
        Cli.Run("generate", straight.Folder, "--stop", "").AssertFails(2, "--stop cannot be empty");
    }

    /// <summary>Texts of several prompts are those of each alone, in the order of the prompts, whatever goes on together.</summary>
    [Fact]
    public void PromptsComeFromOptionsFilesAndRecords()
    {
        string[] prompts = ["to be", "or", "that is the question"], choice = ["--max-tokens", "9", "--seed", "3"];
        string[] alone = [.. prompts.Select(prompt => Text(["-p", prompt, .. choice]))];
        string[] options = [.. prompts.SelectMany(prompt => (string[])["--prompt", prompt])];
        foreach (string batch in (string[])["1", "2", "32"])
        {
            JsonElement[] together = Texts([.. options, .. choice, "--batch", batch]);
            Assert.Equal(alone, together.OrderBy(text => text.GetProperty("index").GetInt32()).Select(text => text.GetProperty("text").GetString()));
        }
        string printed = Generate([.. options, .. choice]).Output;
        Assert.Equal(string.Concat(prompts.Zip(alone, (prompt, text) => prompt + text + "\n")), printed);
        Assert.Equal(printed, Generate(["--prompts", _workspace.Write("prompts.txt", string.Join('\n', prompts) + "\n"), .. choice]).Output);
        string records = _workspace.Write("prompts.jsonl", "{\"prompt\":\"to be\"}\n\n{\"prompt\":\"or\",\"seed\":8}\n");
        JsonElement[] own = Texts(["--prompts", records, .. choice]);
        Assert.Equal([alone[0], Text("-p", "or", "--max-tokens", "9", "--seed", "8")], own.OrderBy(text => text.GetProperty("index").GetInt32()).Select(text => text.GetProperty("text").GetString()));
    }

    [Fact]
    public void PromptsThatCannotBeReadAreNamed()
    {
        Cli.Run("generate", straight.Folder, "-p", "a", "--prompts", "-").AssertFails(2, "--prompt does not go with --prompts");
        Cli.Run("generate", straight.Folder, "--prompts", _workspace["nowhere.txt"]).AssertEnds(66, "cannot read the prompts", "nowhere.txt");
        Cli.Run("generate", straight.Folder, "--prompts", _workspace.Write("empty.txt", "")).AssertEnds(65, "there are no prompts", "empty.txt");
        foreach ((string line, string why) in new[] { ("{\"text\":\"a\"}", "no field \"prompt\""), ("{\"prompt\":\"a\",\"seed\":-1}", "\"seed\""), ("{", "no JSON") })
            Cli.Run("generate", straight.Folder, "--prompts", _workspace.Write("bad.jsonl", $"{{\"prompt\":\"fine\"}}\n{line}\n"), "--max-tokens", "2").AssertEnds(65, "a line is no prompt", "bad.jsonl:2", why);
        foreach ((string option, string value) in new[] { ("--temperature", "-1"), ("--top-k", "0"), ("--top-p", "1.5"), ("--repetition-penalty", "0"), ("--batch", "0"), ("--max-tokens", "-1"), ("--seed", "x") })
            Cli.Run("generate", straight.Folder, option, value).AssertFails(2, "", option);
    }
}
