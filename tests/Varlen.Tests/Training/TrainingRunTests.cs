using Varlen.Checkpoints;
using Varlen.Models;
using Varlen.Training;
using Xunit;

namespace Varlen.Tests.Training;

public sealed class TrainingRunTests : IDisposable
{
    private readonly RunCase _case = new();

    [Fact]
    public void TotalsAreTheSumOfTheMetrics()
    {
        RunFolder folder = _case.Prepare("run");
        RunResult result = RunCase.Train(folder);
        var lines = File.ReadLines(folder.Metrics).Select(line => System.Text.Json.JsonDocument.Parse(line).RootElement).ToArray();
        Assert.Equal(Enumerable.Range(1, RunCase.Steps), lines.Select(line => line.GetProperty("step").GetInt32()));
        Assert.Equal(result.Totals.Tokens, lines.Sum(line => line.GetProperty("batch_tokens").GetInt64()));
        Assert.Equal(result.Totals.Targets, lines.Sum(line => line.GetProperty("targets").GetInt64()));
        Assert.Equal([4, 8, 12], lines.Where(line => line.TryGetProperty("val_loss", out _)).Select(line => line.GetProperty("step").GetInt32()));
        Assert.Equal(RunCase.Steps + 1, File.ReadLines(Path.ChangeExtension(folder.Metrics, ".csv")).Count());
    }

    /// <summary>The rate rises to a ruinous one, so that an early evaluation is the best.</summary>
    [Theory]
    [InlineData(null)]
    [InlineData(4)]
    public void TheBestCheckpointIsKeptAndExported(int? stopAfter)
    {
        RunFolder folder = _case.Prepare("run", request => request with { LearningRate = 20, WarmupSteps = RunCase.Steps, ClipNorm = 0 });
        if (stopAfter is { } stop) RunCase.Train(folder, stopAfter: stop);
        using var run = new TrainingRun(folder);
        RunResult result = run.Run();
        Assert.InRange(result.BestStep, 1, RunCase.Steps - 1);
        Assert.True(result.BestLoss < result.Last!.Loss);
        var checkpoints = new CheckpointFolder(folder.Checkpoints);
        Assert.Contains(result.BestStep, checkpoints.List());

        run.RestoreBest();
        using Checkpoint best = checkpoints.Open(result.BestStep);
        using TensorScope scope = TensorScope.Begin();
        IReadOnlyDictionary<string, Tensor> model = run.Model.StateDict();
        foreach ((string name, Tensor value) in best.ReadTensors("model.safetensors")) Assert.Equal(value.ToArray<float>(), model[name].ToArray<float>());
    }

    [Fact]
    public void ADamagedBestCheckpointIsAWarning()
    {
        RunFolder folder = _case.Prepare("run", request => request with { LearningRate = 20, WarmupSteps = RunCase.Steps, ClipNorm = 0 });
        RunResult result = RunCase.Train(folder);
        File.WriteAllText(Path.Combine(new CheckpointFolder(folder.Checkpoints).PathOf(result.BestStep), "model.safetensors"), "");
        var observer = new Recorder();
        using var run = new TrainingRun(folder, observer: observer);
        run.RestoreBest();
        Assert.Contains($"the best one, of step {result.BestStep}", Assert.Single(observer.Warnings), StringComparison.Ordinal);
    }

    [Fact]
    public void AFailedSaveIsAWarningAndChangesNothingElse()
    {
        RunFolder straight = _case.Prepare("straight", Often), folder = _case.Prepare("run", Often);
        RunCase.Train(straight);
        // A file in the folder's place fails every save, for root too.
        File.WriteAllText(folder.Checkpoints, "");
        var observer = new Recorder { OnStep = step => { if (step == 3) File.Delete(folder.Checkpoints); } };
        RunResult result = RunCase.Train(folder, observer);
        Assert.True(result.Finished);
        Assert.Equal(2, observer.Warnings.Count);
        Assert.Contains("the state of step 1 was not saved, training goes on", observer.Warnings[0], StringComparison.Ordinal);
        Assert.Equal(Enumerable.Range(3, RunCase.Steps - 2), observer.Saves);
        Assert.Equal(RunCase.Outcome(straight), RunCase.Outcome(folder));
    }

    [Fact]
    public void TheThirdFailedSaveInARowEndsTheRunAndItCanGoOn()
    {
        RunFolder straight = _case.Prepare("straight", Often), folder = _case.Prepare("run", Often);
        RunCase.Train(straight);
        string aside = folder.Checkpoints + ".aside";
        var observer = new Recorder
        {
            OnStep = step =>
            {
                if (step != 5) return;
                Directory.Move(folder.Checkpoints, aside);
                File.WriteAllText(folder.Checkpoints, "");
            },
        };
        var failure = Assert.Throws<CheckpointSaveException>(() => RunCase.Train(folder, observer));
        Assert.Equal(7, failure.Step);
        Assert.Equal([1, 2, 3, 4], observer.Saves);
        Assert.Equal(2, observer.Warnings.Count);

        File.Delete(folder.Checkpoints);
        Directory.Move(aside, folder.Checkpoints);
        Assert.True(RunCase.Train(folder).Finished);
        Assert.Equal(RunCase.Outcome(straight), RunCase.Outcome(folder));
    }

    [Fact]
    public void AConfigurationDecidesTheModelAndTheTokenizerItsVocabulary()
    {
        RunFolder folder = _case.Prepare("run");
        using CausalLanguageModel model = CausalLanguageModel.FromConfig(folder.Model);
        Assert.Equal((257, 16, 1, 2, 8), (model.VocabularySize, model.MaxLength, model.Layers, model.Heads, model.HeadDim));
        Assert.Contains("there is no model 'huge'", Assert.Throws<ArgumentException>(() => _case.Prepare("other", request => request with { Model = "huge" })).Message, StringComparison.Ordinal);
        Assert.Contains("longer than the model's 16 positions", Assert.Throws<ArgumentException>(() => _case.Prepare("long", request => request with { Context = 17 })).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void SettingsOfAnotherVersionOrWithUnknownKeysAreRefused()
    {
        RunFolder folder = _case.Prepare("run");
        string json = File.ReadAllText(folder.Config);
        foreach ((string from, string to, string why) in new[]
        {
            ("\"version\": 1", "\"version\": 2", "has version 2"), ("\"seed\"", "\"sead\"", "sead"), ("{", "", "does not hold the settings of a run"), ("\"seed\": 1", "\"seed\": 1, \"seed\": 1", "seed"),
        })
        {
            File.WriteAllText(folder.Config, new System.Text.RegularExpressions.Regex(System.Text.RegularExpressions.Regex.Escape(from)).Replace(json, to, 1));
            var failure = Assert.Throws<FormatException>(() => new TrainingRun(folder));
            Assert.Contains(folder.Config, failure.Message, StringComparison.Ordinal);
            Assert.Contains(why, failure.Message, StringComparison.Ordinal);
        }
    }

    public void Dispose() => _case.Dispose();

    private static RunRequest Often(RunRequest request) => request with { SaveEvery = 1 };
}
