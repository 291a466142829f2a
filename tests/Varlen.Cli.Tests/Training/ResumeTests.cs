using System.Text.Json;
using Xunit;

namespace Varlen.Cli.Tests.Training;

/// <summary>Runs that were stopped, interrupted or killed, as real processes.</summary>
public sealed class ResumeTests(StraightRun straight) : IClassFixture<StraightRun>
{
    private const string Endless = "100000";
    private readonly Workspace _workspace = straight.Workspace;

    [Fact]
    public void StopAfterThenResumeEqualsTheStraightRun()
    {
        CliResult stopped = _workspace.Train("stopped", [.. StraightRun.Plan, "--stop-after", "13", "--json"]);
        Assert.True(stopped.ExitCode == 0, stopped.Error);
        Assert.Equal(("stopped", 13), (stopped.Json().GetProperty("status").GetString(), stopped.Json().GetProperty("steps").GetInt32()));
        Cli.Run("generate", _workspace["stopped"]).AssertEnds(66, "the run has no trained model yet", "varlen train --resume");
        CliResult resumed = _workspace.Resume("stopped", "--json");
        Assert.True(resumed.ExitCode == 0, resumed.Error);
        Assert.Equal(straight.Outcome, _workspace.Outcome("stopped"));
        // A finished run trains nothing more, and its model is written again.
        File.Delete(_workspace["stopped/model/model.safetensors"]);
        CliResult again = _workspace.Resume("stopped", [.. StraightRun.Plan, _workspace["texts"], "--json"]);
        Assert.True(again.ExitCode == 0, again.Error);
        Assert.Equal(resumed.Json().GetProperty("val_loss").GetDouble(), again.Json().GetProperty("val_loss").GetDouble());
        Assert.Equal(straight.Outcome, _workspace.Outcome("stopped"));
    }

    [Fact]
    public void KilledAtRandomItEndsWithTheBitsOfTheStraightRun()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "signals are for POSIX systems");
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        for (int kill = 0; kill < 4; kill++)
        {
            bool begun = File.Exists(_workspace["killed/config.json"]);
            using var process = new LiveProcess(begun ? ["train", "--resume", _workspace["killed"]] : _workspace.Arguments("killed", StraightRun.Plan));
            // Twice the start is survived, twice it hits planning or loading.
            if (kill % 2 == 0) process.WaitFor("step ");
            Thread.Sleep(random.Next(1, 150));
            process.Send(LiveProcess.Kill);
            process.End();
        }
        CliResult last = File.Exists(_workspace["killed/config.json"]) ? _workspace.Resume("killed") : _workspace.Train("killed", StraightRun.Plan);
        Assert.True(last.ExitCode == 0, $"seed {seed}: {last.Error}");
        Assert.True(straight.Outcome.SequenceEqual(_workspace.Outcome("killed")), $"seed {seed}");
    }

    [Theory]
    [InlineData(LiveProcess.Interrupt, 130)]
    [InlineData(LiveProcess.Terminate, 143)]
    public void ASignalEndsTheStepAndSavesAndAnotherProcessIsKeptOut(int signal, int code)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "signals are for POSIX systems");
        string run = $"signal{signal}";
        string[] plan = ["--steps", Endless, "--evaluate-every", Endless, "--save-every", Endless];
        using var process = new LiveProcess([.. _workspace.Arguments(run, plan), "--json"]);
        process.WaitFor("1 ");
        foreach (CliResult second in (CliResult[])[_workspace.Resume(run), _workspace.Train(run, plan)]) second.AssertEnds(75, "the run folder is in use", $"process {process.Id} ");
        process.Send(signal);
        CliResult result = process.End();
        Assert.True(result.ExitCode == code, result.Error);
        JsonElement root = result.Json();
        Assert.Equal("stopped", root.GetProperty("status").GetString());
        int step = root.GetProperty("steps").GetInt32();
        Assert.Contains("stopping after this step", result.Error, StringComparison.Ordinal);
        Assert.True(Directory.Exists(_workspace[$"{run}/checkpoints/step-{step:D8}"]));
        Assert.Equal(step, File.ReadLines(_workspace[$"{run}/metrics.jsonl"]).Count());

        string further = (step + 3).ToString(System.Globalization.CultureInfo.InvariantCulture), name = $"checkpoints/step-{step + 3:D8}/model.safetensors";
        Assert.Equal(0, _workspace.Resume(run, "--stop-after", further).ExitCode);
        Assert.Equal(0, _workspace.Train($"{run}-straight", [.. plan, "--stop-after", further]).ExitCode);
        Assert.Equal(_workspace.Hash($"{run}-straight/{name}"), _workspace.Hash($"{run}/{name}"));
    }

    [Fact]
    public void ASecondSignalLeavesAtOnce()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "signals are for POSIX systems");
        // One step of this plan takes minutes.
        using var process = new LiveProcess([.. _workspace.Arguments("twice").Where(arg => arg is not ("2" or "--micro-batches")), "--micro-batches", "65536", "--steps", "2"]);
        process.WaitFor("Run ");
        while (!File.Exists(_workspace["twice/metrics.csv"])) Thread.Sleep(20);
        Thread.Sleep(200);
        process.Send(LiveProcess.Interrupt);
        process.WaitFor("stopping after this step");
        process.Send(LiveProcess.Interrupt);
        CliResult result = process.End();
        Assert.Equal(130, result.ExitCode);
        Assert.DoesNotContain("Report", result.Error, StringComparison.Ordinal);
        Assert.Equal(0, new FileInfo(_workspace["twice/metrics.jsonl"]).Length);
    }

    [Theory]
    [InlineData("--lr", "0.5")]
    [InlineData("--seed", "9")]
    [InlineData("--steps", "41")]
    [InlineData("--context", "16")]
    [InlineData("--model", "tiny")]
    [InlineData("--tokenizer", "bpe:300")]
    [InlineData("--text-field", "body")]
    [InlineData("--clip", "0")]
    public void SettingsThatDifferAreRefused(string option, string value)
        => Cli.Run("train", "--resume", straight.Folder, option, value).AssertEnds(78, $"{option} {value} differs from the run's setting", $"leave {option} out");

    [Fact]
    public void DataThatDiffersIsRefused()
    {
        CopyTexts("moved");
        Assert.Equal(0, _workspace.Train("data", "--steps", "1").ExitCode);
        Assert.Equal(0, _workspace.Resume("data", _workspace["moved"]).ExitCode);
        // Files without a text do not count.
        _workspace.Write("moved/empty.txt", "");
        Assert.Equal(0, _workspace.Resume("data", _workspace["moved"]).ExitCode);

        string added = _workspace.Write("moved/added.txt", "one more");
        Refused(added, "started without it");
        File.Delete(added);
        string first = _workspace["moved/00.txt"], text = File.ReadAllText(first);
        File.WriteAllText(first, text + ".");
        Refused(first, "started without it");
        File.Delete(first);
        Refused("00.txt", "started with it");

        string original = _workspace["texts/01.txt"];
        text = File.ReadAllText(original);
        File.WriteAllText(original, text + ".");
        _workspace.Resume("data", _workspace["texts"]).AssertEnds(78, "the data differs from the run's", "01.txt", "it has changed");
        File.WriteAllText(original, text);

        void Refused(string file, string why) => _workspace.Resume("data", _workspace["moved"]).AssertEnds(78, "the data differs from the run's", Path.GetFileName(file), why);
    }

    [Fact]
    public void FoldersThatAreNoRunOrOneAlreadyAreNamed()
    {
        Cli.Run("train", "--resume", _workspace["texts"]).AssertEnds(66, "there is no run to resume", "config.json");
        _workspace.Train("straight").AssertEnds(73, "the folder holds a run already", "--resume");
        Cli.Run("train", "--resume", straight.Folder, "--out", _workspace["x"]).AssertEnds(2, "--resume and --out exclude each other");

        Assert.Equal(0, _workspace.Train("broken", "--steps", "2").ExitCode);
        string config = _workspace["broken/config.json"], environment = _workspace["broken/environment.json"], good = File.ReadAllText(config);
        File.WriteAllText(config, good.Replace("\"seed\"", "\"sead\"", StringComparison.Ordinal));
        _workspace.Resume("broken").AssertEnds(78, "the run's settings cannot be read", config, "sead");
        File.WriteAllText(config, good.Replace("\"context\": 32", "\"context\": 31", StringComparison.Ordinal));
        _workspace.Resume("broken").AssertEnds(78, "the run cannot go on", "data");
        File.WriteAllText(config, good);
        File.WriteAllText(environment, "[{");
        _workspace.Resume("broken").AssertEnds(78, "a file of the run folder is damaged", environment);
    }

    private void CopyTexts(string name)
    {
        Directory.CreateDirectory(_workspace[name]);
        foreach (string file in Directory.GetFiles(_workspace["texts"])) File.Copy(file, _workspace[$"{name}/{Path.GetFileName(file)}"]);
    }
}
