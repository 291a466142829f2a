using System.Text.Json;
using Varlen.Cli.Tests.Training;
using Varlen.Models;
using Varlen.Text;
using Xunit;

namespace Varlen.Cli.Tests.Auditing;

/// <summary>varlen audit on runs, models and data.</summary>
public sealed class AuditTests(StraightRun straight) : IClassFixture<StraightRun>, IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static JsonElement Holds(CliResult result)
    {
        Assert.True(result.ExitCode == 0, result.Output + result.Error);
        JsonElement json = result.Json();
        Assert.Equal("holds", json.GetProperty("status").GetString());
        Assert.Equal(0, json.GetProperty("fails").GetInt32());
        return json;
    }

    private static string[] Outcomes(JsonElement json, string area)
        => [.. json.GetProperty("checks").EnumerateArray().Where(check => check.GetProperty("area").GetString() == area).Select(check => check.GetProperty("outcome").GetString()!)];

    [Fact]
    public void ARunHoldsOnItsOwnData()
    {
        string[] audit = ["audit", straight.Folder, "--threads", "1"];
        JsonElement json = Holds(Cli.RunIn(straight.Workspace.Path, [.. audit, "--json"]));
        Assert.Equal(30, json.GetProperty("documents").GetInt32());
        Assert.Equal(32, json.GetProperty("context").GetInt32());
        Assert.Equal(12, json.GetProperty("sample").GetProperty("sequences").GetInt32());
        Assert.EndsWith("straight/model", json.GetProperty("model").GetString(), StringComparison.Ordinal);
        Assert.True(json.GetProperty("same_bits").GetBoolean());
        foreach (string area in (string[])["isolation", "equivalence", "labels", "ledger"])
        {
            string[] outcomes = Outcomes(json, area);
            Assert.NotEmpty(outcomes);
            Assert.All(outcomes, outcome => Assert.Equal("holds", outcome));
        }
        string page = Cli.RunIn(straight.Workspace.Path, audit).Output;
        Assert.Contains("  holds packed, others removed: a document's results stay\n", page, StringComparison.Ordinal);
        Assert.Contains("stay · same bits\n", page, StringComparison.Ordinal);
        Assert.Matches(@"\n\d+ checks hold\n$", page);
        Assert.InRange(page.Count(c => c == '\n'), 40, 66);
    }

    /// <summary>Files that are gone or changed are told, and do not make a run false.</summary>
    [Fact]
    public void ARunWithoutItsFilesSaysSo()
    {
        using var workspace = new Workspace();
        CliResult trained = workspace.Train("run", "--steps", "6", "--stop-after", "4", "--evaluate-every", "2", "--save-every", "2");
        Assert.True(trained.ExitCode == 0, trained.Error);
        File.AppendAllText(workspace["texts/03.txt"], "more");
        CliResult changed = Cli.RunIn(workspace.Path, "audit", workspace["run"], "--documents", "4", "--json");
        JsonElement json = Holds(changed);
        Assert.Equal("not-run", Outcomes(json, "ledger")[0]);
        Assert.Contains("03.txt has changed since the run was started", changed.Output, StringComparison.Ordinal);
        Assert.Contains("/checkpoints/step-", json.GetProperty("model").GetString(), StringComparison.Ordinal);
        // Named again, it is audited as it is now.
        json = Holds(Cli.RunIn(workspace.Path, "audit", workspace["run"], workspace["texts"], "--documents", "4", "--json"));
        Assert.All(Outcomes(json, "ledger"), outcome => Assert.Equal("holds", outcome));
        File.Delete(workspace["texts/03.txt"]);
        Assert.Contains("03.txt is not there", Cli.RunIn(workspace.Path, "audit", workspace["run"], "--documents", "2").Output, StringComparison.Ordinal);
    }

    [Fact]
    public void AModelHoldsOnRandomDocumentsAndOnRecords()
    {
        using (var model = new LlamaModel(new LlamaConfig { Family = LlamaFamily.Qwen2, VocabularySize = 300, MaxLength = 24, Width = 16, Inner = 24, Layers = 2, Heads = 2, KeyValueHeads = 1, HeadDim = 8 }, 3)) model.SavePretrained(_folder.File("llama"));
        JsonElement json = Holds(Cli.Run("audit", _folder.File("llama"), "--seed", "9", "--json"));
        Assert.Equal("random documents of awkward lengths", json.GetProperty("data").GetString());
        Assert.Equal([1, 24], [json.GetProperty("sample").GetProperty("shortest").GetInt32(), json.GetProperty("sample").GetProperty("longest").GetInt32()]);
        // The store, the ledger, and three of each packing policy.
        Assert.Equal(2 + 3 * 3, Outcomes(json, "ledger").Length);

        Cli.Run("audit", _folder.File("llama"), _folder.Write("records.jsonl", "{\"body\":\"x\"}\n")).AssertEnds(66, "a file is missing", "tokenizer.json");
        new ByteTokenizer().Save(_folder.File("llama/tokenizer.json"));
        string records = _folder.Write("records.jsonl", string.Concat(Enumerable.Range(0, 30).Select(i => $"{{\"body\":\"record {i} {new string('é', i)}\"}}\nno record\n")));
        string examples = _folder.Write("examples.jsonl", string.Concat(Enumerable.Range(0, 30).Select(i => $"{{\"prompt\":\"{i} and {i}\",\"completion\":\"{2 * i}\"}}\nno record\n")));
        json = Holds(Cli.Run("audit", _folder.File("llama"), examples, "--bad-lines", "skip", "--context", "16", "--json"));
        Assert.Equal(30, json.GetProperty("documents").GetInt32());
        Assert.Contains("targets ignored", json.ToString(), StringComparison.Ordinal);
        Assert.Contains("error: 30 lines are no valid records", Cli.Run("audit", _folder.File("llama"), records, "--text-field", "body").Error, StringComparison.Ordinal);
    }

    [Fact]
    public void ErrorsAreThoseOfOtherCommands()
    {
        Cli.Run("audit", _folder.File("missing")).AssertEnds(66, "there is no model");
        Directory.CreateDirectory(_folder.File("empty"));
        Assert.Equal(66, Cli.Run("audit", _folder.File("empty")).ExitCode);
        Cli.Run("audit", straight.Folder, "--context", "64").AssertEnds(2, "--context 64 is longer than the model's 32 positions");
        Cli.Run("audit", straight.Folder, "--context", "32", "--batch-tokens", "16").AssertEnds(2, "--context 32 is more than --batch-tokens 16");
        Cli.Run("audit", straight.Folder, "--documents", "1").AssertEnds(2, "--documents cannot be '1'");
        string damaged = straight.CopyModel("damaged");
        File.WriteAllBytes(Path.Combine(damaged, "model.safetensors"), [1, 2, 3]);
        Assert.Equal(65, Cli.Run("audit", damaged).ExitCode);
    }

    /// <summary>A store that lost a token since the run was started is found, and the exit code says so.</summary>
    [Fact]
    public void ACheckThatFailsEndsWithOne()
    {
        using var workspace = new Workspace();
        CliResult trained = workspace.Train("run", "--steps", "1");
        Assert.True(trained.ExitCode == 0, trained.Error);
        // Another tokenization of the same files: one document less.
        string kept = workspace["kept"];
        Directory.CreateDirectory(kept);
        foreach (string file in Directory.GetFiles(workspace["texts"]).Order(StringComparer.Ordinal).Take(29)) File.Copy(file, Path.Combine(kept, Path.GetFileName(file)));
        Data.TextCorpus.Tokenize([kept], Tokenizer.Load(workspace["run/tokenizer.json"]), workspace["run/tokens.bin"]);
        CliResult result = Cli.RunIn(workspace.Path, "audit", workspace["run"], "--documents", "3", "--json");
        Assert.True(result.ExitCode == 1, result.Error);
        Assert.Equal("fails", result.Json().GetProperty("status").GetString());
        Assert.Contains("is document 29, and the store has 29", result.Output, StringComparison.Ordinal);
        CliResult page = Cli.RunIn(workspace.Path, "audit", workspace["run"], "--documents", "3");
        Assert.Equal(1, page.ExitCode);
        Assert.Matches(@"\n\d of \d+ checks FAIL\n$", page.Output);
    }

    [Fact]
    public void HoldsOnTheEmulatedGpu()
    {
        CliResult result = Cli.RunEmulated(new Dictionary<string, string>(), "audit", straight.Folder, Path.Combine(straight.Workspace.Path, "texts"), "--device", "cuda", "--deterministic", "--documents", "2", "--context", "8", "--json");
        JsonElement json = Holds(result);
        Assert.True(json.GetProperty("same_bits").GetBoolean());
        Assert.Equal("cuda:0 BFloat16", $"{json.GetProperty("device").GetString()} {json.GetProperty("precision").GetString()}");
    }
}
