using Varlen.Cli.Tests.AttentionFiles;
using Xunit;

namespace Varlen.Cli.Tests.Training;

/// <summary>The commands on the emulated GPU.</summary>
public sealed class CudaTests : IDisposable
{
    private readonly Workspace _workspace = new();

    [Fact]
    public void TrainsEvaluatesAndGeneratesAndTheCpuGoesOn()
    {
        CliResult trained = Run(_workspace.Arguments("run", "--steps", "6", "--stop-after", "3", "--evaluate-every", "6", "--save-every", "3", "--device", "cuda", "--deterministic", "--json"));
        Assert.True(trained.ExitCode == 0, trained.Error);
        Assert.Contains("cuda:0, Varlen emulator, deterministic", trained.Error, StringComparison.Ordinal);
        string config = File.ReadAllText(_workspace["run/config.json"]);
        Assert.Contains("\"precision\": \"BFloat16\"", config, StringComparison.Ordinal);
        Assert.Contains("\"deterministic\": true", config, StringComparison.Ordinal);
        CliResult resumed = Cli.RunIn(_workspace.Path, "train", "--resume", _workspace["run"], "--device", "cpu", "--json");
        Assert.True(resumed.ExitCode == 0, resumed.Error);
        Assert.Equal(6, resumed.Json().GetProperty("steps").GetInt32());

        string[] evaluate = ["evaluate", _workspace["run"], _workspace["texts"], "--json", "--device"];
        double cuda = Run([.. evaluate, "cuda"]).Json().GetProperty("loss").GetDouble(), cpu = Cli.RunIn(_workspace.Path, [.. evaluate, "cpu"]).Json().GetProperty("loss").GetDouble();
        Assert.Equal(cpu, cuda, 0.01);
        Assert.Equal(4, Run("generate", _workspace["run"], "--max-tokens", "4", "--device", "auto", "--seed", "3", "--json").Json().GetProperty("tokens").GetInt32());
    }

    /// <summary>A captured run goes on with the same bits, recorded anew.</summary>
    [Fact]
    public void CapturedRunsAreStoredAsSuchAndGoOn()
    {
        string[] arguments = ["--steps", "7", "--evaluate-every", "7", "--save-every", "4", "--device", "cuda", "--precision", "fp32", "--capture", "on", "--json"];
        CliResult straight = Run(_workspace.Arguments("straight", arguments));
        Assert.True(straight.ExitCode == 0, straight.Error);
        Assert.True(Run(_workspace.Arguments("stopped", [.. arguments, "--stop-after", "4"])).ExitCode == 0);
        Assert.Contains("\"capture\": true", File.ReadAllText(_workspace["stopped/config.json"]), StringComparison.Ordinal);
        Run("train", "--resume", _workspace["stopped"], "--device", "cuda", "--capture", "off").AssertEnds(78, "--capture off differs from the run's setting", "started with on");
        CliResult resumed = Run("train", "--resume", _workspace["stopped"], "--device", "cuda", "--json");
        Assert.True(resumed.ExitCode == 0, resumed.Error);
        Assert.Equal(File.ReadAllBytes(_workspace["straight/model/model.safetensors"]), File.ReadAllBytes(_workspace["stopped/model/model.safetensors"]));
    }

    [Fact]
    public void BenchTimesCapturedSteps()
    {
        string[] bench = ["bench", "step", "--device", "cuda", "--layers", "1", "--width", "16", "--heads", "1", "--vocabulary", "32", "--lengths", "fixed:8x3", "--rounds", "2", "--warmup", "2", "--dtype", "float32", "--json", "--capture", "on"];
        CliResult result = Run([.. bench, "--strategy", "packed,padded,jagged,block-diagonal"]);
        Assert.True(result.ExitCode == 0, result.Error);
        System.Text.Json.JsonElement[] lines = [.. result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => System.Text.Json.JsonDocument.Parse(line).RootElement)];
        Assert.All(lines[..^1], line => Assert.Equal(1, line.GetProperty("launches").GetInt32()));
        Assert.True(lines[^1].GetProperty("losses_agree").GetBoolean());
        Assert.True(lines[^1].GetProperty("capture").GetBoolean());
        Run([.. bench, "--strategy", "dense-mask"]).AssertEnds(2, "--capture on does not go with --strategy dense-mask");
    }

    /// <summary>With everything that narrows the choice, texts that come and go are those of the CPU: their tokens are drawn by one rule from one stream.</summary>
    [Fact]
    public void TextsAreThoseOfTheCpu()
    {
        CliResult trained = Cli.RunIn(_workspace.Path, _workspace.Arguments("run", "--steps", "4", "--device", "cpu", "--json"));
        Assert.True(trained.ExitCode == 0, trained.Error);
        foreach (string[] choice in (string[][])[["--temperature", "0"], ["--top-k", "5", "--top-p", "0.9", "--repetition-penalty", "1.3", "--seed", "4"]])
        {
            string[] generate = ["generate", _workspace["run"], "-p", "to be", "-p", "that is the question, whether", "-p", "or", "--max-tokens", "12", "--batch", "2", "--precision", "fp32", .. choice, "--device"];
            CliResult cuda = Run([.. generate, "cuda", "--verbose"]), cpu = Cli.RunIn(_workspace.Path, [.. generate, "cpu"]);
            Assert.True(cuda.ExitCode == 0, cuda.Error);
            Assert.Equal(cpu.Output, cuda.Output);
            Assert.DoesNotContain("not recorded", cuda.Error, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void BenchTimesRecordedTexts()
    {
        CliResult result = Run("bench", "generate", "--device", "cuda", "--layers", "1", "--width", "16", "--heads", "1", "--vocabulary", "32", "--lengths", "uniform:1..9x3", "--max-tokens", "7", "--rounds", "1", "--json");
        Assert.True(result.ExitCode == 0, result.Error);
        System.Text.Json.JsonElement[] lines = [.. result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => System.Text.Json.JsonDocument.Parse(line).RootElement)];
        Assert.Equal([7, 21], lines[..^1].Select(line => line.GetProperty("tokens").GetInt32()));
        Assert.True(lines[^1].GetProperty("capture").GetBoolean());
    }

    [Fact]
    public void FilesOfDoublesAndMissingDevicesAreRefused()
    {
        using var folder = new TemporaryFolder();
        AttentionFile.Random([3, 2], [3, 2], 2, 1, 8).Write(folder);
        string[] attention = ["attention", folder.File("in.safetensors"), folder.File("out.safetensors")];
        Run([.. attention, "--device", "cuda"]).AssertEnds(2, "", "double precision", "--device cpu");
        Run([.. attention, "--device", "auto", "--dtype", "float64"]).AssertEnds(2, "--dtype float64 does not go with --device cuda:0");
        Run([.. attention, "--device", "cuda:77"]).AssertEnds(69, "device cuda:77 is not available", "there is no device cuda:77");
        CliResult computed = Run([.. attention, "--device", "cuda", "--dtype", "float32", "--causal", "--json"]);
        Assert.True(computed.ExitCode == 0, computed.Error);
        Assert.Equal("cuda:0", computed.Json().GetProperty("device").GetString());
    }

    public void Dispose() => _workspace.Dispose();

    private static CliResult Run(params string[] args) => Cli.RunEmulated(new Dictionary<string, string>(), args);
}
