using System.Diagnostics;
using System.Text.Json;
using Varlen.Models;
using Xunit;

namespace Varlen.Cli.Tests.Training;

/// <summary>What a run gives, and what evaluate, generate and inspect make of it.</summary>
public sealed class TrainTests(StraightRun straight) : IClassFixture<StraightRun>
{
    private readonly Workspace _workspace = straight.Workspace;

    [Fact]
    public void LeavesAFolderThatIsComplete()
    {
        foreach (string file in (string[])["config.json", "environment.json", "data.json", "tokens.bin", "tokenizer.json", "metrics.jsonl", "metrics.csv", "samples.txt", "report.html",
            "model/config.json", "model/model.safetensors", "model/tokenizer.json", "checkpoints/step-00000040/manifest.json"])
            Assert.True(File.Exists(Path.Combine(straight.Folder, file)), file);
        Assert.Empty(Directory.GetFiles(straight.Folder, "*.tmp", SearchOption.AllDirectories));
        JsonElement data = JsonDocument.Parse(File.ReadAllText(Path.Combine(straight.Folder, "data.json"))).RootElement;
        Assert.Equal(30, data.GetProperty("files").GetArrayLength());
        foreach (JsonElement file in data.GetProperty("files").EnumerateArray())
            Assert.Equal(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(file.GetProperty("path").GetString()!))), file.GetProperty("sha256").GetString());
        using CausalLanguageModel model = CausalLanguageModel.FromPretrained(Path.Combine(straight.Folder, "model"));
        Assert.Equal(32, model.MaxLength);
    }

    [Fact]
    public void ThePlanComesBeforeTheStepsAndOnlyTheSampleIsOnTheOutput()
    {
        string error = straight.Result.Error;
        int at = 0;
        foreach (string part in (string[])["Varlen ", "Data       30 files", "Split ", "Packing ", "Model ", "40 steps", "Ctrl-C saves and stops", "loss", "Best ", "verified by loading it", "report.html", "varlen generate "])
        {
            int found = error.IndexOf(part, at, StringComparison.Ordinal);
            Assert.True(found >= 0, $"'{part}' is missing after {at} in\n{error}");
            at = found;
        }
        Assert.DoesNotContain('\e', error);
        Assert.DoesNotContain('\r', error);
        Assert.DoesNotContain("Best", straight.Result.Output, StringComparison.Ordinal);
        Assert.NotEmpty(straight.Result.Output.Trim());
    }

    [Fact]
    public void JsonIsOneObjectThatAgreesWithTheFolder()
    {
        CliResult result = _workspace.Train("json", ["--steps", "6", "--json"]);
        Assert.True(result.ExitCode == 0, result.Error);
        JsonElement root = result.Json();
        Assert.Equal("done", root.GetProperty("status").GetString());
        Assert.Equal(6, root.GetProperty("steps").GetInt32());
        JsonElement last = JsonDocument.Parse(File.ReadLines(_workspace["json/metrics.jsonl"]).Last()).RootElement;
        Assert.Equal(last.GetProperty("tokens").GetInt64(), root.GetProperty("tokens").GetProperty("inputs").GetInt64());
        Assert.Equal(last.GetProperty("val_loss").GetDouble(), root.GetProperty("val_loss").GetDouble(), 6);
    }

    [Fact]
    public void EvaluateGenerateAndInspectWorkWithIt()
    {
        JsonElement evaluation = Cli.Run("evaluate", straight.Folder, _workspace["texts"], "--json").Json();
        Assert.Equal(30, evaluation.GetProperty("documents").GetInt32());
        Assert.InRange(evaluation.GetProperty("loss").GetDouble(), 1, 5.4);
        // Bytes are the tokens, and each document has as many targets as bytes: its first has none, its end is one.
        long bytes = Directory.GetFiles(_workspace["texts"]).Sum(file => new FileInfo(file).Length);
        Assert.Equal(bytes, evaluation.GetProperty("tokens").GetInt64());
        Assert.Equal(evaluation.GetProperty("loss").GetDouble(), Cli.Run("evaluate", Path.Combine(straight.Folder, "model"), _workspace["texts"], "--json", "--batch-tokens", "40").Json().GetProperty("loss").GetDouble(), 4);

        string[] generate = ["generate", straight.Folder, "--prompt", "to be", "--max-tokens", "30", "--seed", "5", "--json"];
        JsonElement text = Cli.Run(generate).Json();
        Assert.InRange(text.GetProperty("tokens").GetInt32(), 1, 30);
        Assert.Equal(text.GetProperty("text").GetString(), Cli.Run(generate).Json().GetProperty("text").GetString());
        Assert.StartsWith("to be", Cli.Run("generate", straight.Folder, "--prompt", "to be", "--max-tokens", "3").Output, StringComparison.Ordinal);

        JsonElement lengths = Cli.Run("inspect", _workspace["texts"], "--json").Json();
        Assert.Equal(bytes + 30, lengths.GetProperty("tokens").GetInt64());
        Assert.Equal(3, lengths.GetProperty("packing").GetArrayLength());
        Assert.Contains("best-fit", Cli.Run("inspect", _workspace["texts"]).Output, StringComparison.Ordinal);
    }

    [Fact]
    public void NoVariableOfTheEnvironmentIsInTheFolder()
    {
        const string secret = "k3y-that-nobody-may-see";
        var start = new ProcessStartInfo(Cli.Program, _workspace.Arguments("secret", "--steps", "2"));
        start.Environment["API_TOKEN"] = secret;
        Assert.Equal(0, Cli.Run(start).ExitCode);
        foreach (string file in Directory.GetFiles(_workspace["secret"], "*", SearchOption.AllDirectories))
            Assert.DoesNotContain(secret, System.Text.Encoding.Latin1.GetString(File.ReadAllBytes(file)), StringComparison.Ordinal);
    }

    [Fact]
    public void DivergenceStopsAfterThreeStepsAndSaysWhatWasNotFinite()
    {
        CliResult result = _workspace.Train("diverged", "--steps", "50", "--lr", "1e30", "--clip", "0", "--warmup", "0", "--evaluate-every", "1");
        result.AssertEnds(76, "training diverged", "step ", "not finite in 3 steps in a row", "transformer.", "lower --lr");
        Assert.Contains("the update was skipped", result.Error, StringComparison.Ordinal);
        Assert.True(File.Exists(_workspace["diverged/report.html"]));
    }
}
