using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Xunit;

namespace Varlen.Cli.Tests.Training;

/// <summary>A folder with small texts and a smaller model, in which the program trains.</summary>
internal sealed class Workspace : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public Workspace()
    {
        Directory.CreateDirectory(this["texts"]);
        for (int i = 0; i < 30; i++) _folder.Write($"texts/{i:D2}.txt", $"{i}: " + string.Concat(Enumerable.Repeat(i % 2 == 0 ? "to be or not to be, " : "that is the question. ", 2 + i * 7 % 11)));
        _folder.Write("tiny.json", """{"model_type":"gpt2","n_positions":32,"n_embd":16,"n_layer":1,"n_head":2,"resid_pdrop":0.1,"embd_pdrop":0.1,"attn_pdrop":0.1}""");
    }

    public string Path => _folder.Path;

    public string this[string name] => _folder.File(name);

    public string Write(string name, string text) => _folder.Write(name, text);

    /// <summary>The arguments of a run on the texts, into a folder of this name.</summary>
    public string[] Arguments(string run, params string[] more) => Arguments(this["texts"], run, more);

    /// <summary>The arguments of a run on other data.</summary>
    public string[] Arguments(string data, string run, string[] more)
        => ["train", data, "--model", this["tiny.json"], "--batch-tokens", "64", "--micro-batches", "2", "--threads", "1", "--out", this[run], .. more];

    public CliResult Train(string run, params string[] more) => Cli.RunIn(Path, Arguments(run, more));

    public CliResult Resume(string run, params string[] more) => Cli.RunIn(Path, ["train", "--resume", this[run], "--threads", "2", .. more]);

    /// <summary>Everything that a finished run leaves and that must not depend on where it was stopped: no times.</summary>
    public string[] Outcome(string run) =>
    [
        Hash($"{run}/model/model.safetensors"), File.ReadAllText(this[$"{run}/samples.txt"]),
        .. File.ReadLines(this[$"{run}/metrics.jsonl"]).Select(line =>
        {
            JsonObject values = JsonNode.Parse(line)!.AsObject();
            foreach (string time in (string[])["tok_s", "data_wait", "seconds"]) Assert.True(values.Remove(time));
            return values.ToJsonString();
        }),
    ];

    public string Hash(string name) => Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(this[name])));

    public void Dispose() => _folder.Dispose();
}

/// <summary>A run that nobody disturbed, made once for all tests that compare with it; none writes to it.</summary>
public sealed class StraightRun : IDisposable
{
    /// <summary>The options of its plan.</summary>
    internal static readonly string[] Plan = ["--steps", "40", "--evaluate-every", "8", "--save-every", "5"];

    public StraightRun()
    {
        Result = Workspace.Train("straight", Plan);
        Assert.True(Result.ExitCode == 0, Result.Error);
        Outcome = Workspace.Outcome("straight");
    }

    internal Workspace Workspace { get; } = new();

    internal CliResult Result { get; }

    internal string[] Outcome { get; }

    internal string Folder => Workspace["straight"];

    /// <summary>A copy of its model's folder that a test may spoil.</summary>
    internal string CopyModel(string name)
    {
        Directory.CreateDirectory(Workspace[name]);
        foreach (string file in Directory.GetFiles(Path.Combine(Folder, "model"))) File.Copy(file, Path.Combine(Workspace[name], Path.GetFileName(file)));
        return Workspace[name];
    }

    public void Dispose() => Workspace.Dispose();
}
