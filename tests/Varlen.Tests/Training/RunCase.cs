using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Varlen.Checkpoints;
using Varlen.Data;
using Varlen.Training;

namespace Varlen.Tests.Training;

/// <summary>Small runs with dropout, several micro-batches and evaluations, all over the same texts.</summary>
internal sealed class RunCase : IDisposable
{
    public const int Steps = 12, SaveEvery = 5, EvaluateEvery = 4;
    private readonly TemporaryFolder _folder = new();
    private int _runs;

    public RunCase()
    {
        string[] texts = Corpus.Patterns(40, 11);
        for (int i = 0; i < texts.Length; i++) _folder.Write($"texts/{i:D3}.txt", texts[i]);
        _folder.Write("tiny.json", """{"model_type":"gpt2","n_positions":16,"n_embd":16,"n_layer":1,"n_head":2,"resid_pdrop":0.2,"embd_pdrop":0.1,"attn_pdrop":0.2}""");
    }

    public RunFolder Prepare(string name, Func<RunRequest, RunRequest>? change = null)
    {
        var request = new RunRequest
        {
            Data = [_folder["texts"]], Model = _folder["tiny.json"], BatchTokens = 48, MicroBatches = 2, Steps = Steps, SaveEvery = SaveEvery, EvaluateEvery = EvaluateEvery, LearningRate = 1e-2,
        };
        var folder = new RunFolder(_folder[$"{++_runs}-{name}"]);
        Directory.CreateDirectory(folder.Path);
        RunPlanner.Prepare(folder, change?.Invoke(request) ?? request, Device.Cpu);
        return folder;
    }

    /// <summary>Opens a run as a new process would, and trains.</summary>
    public static RunResult Train(RunFolder folder, Recorder? observer = null, int? stopAfter = null)
    {
        using var run = new TrainingRun(folder, observer: observer);
        return run.Run(stopAfter, observer?.Stop.Token ?? default);
    }

    /// <summary>Everything that a run leaves and that must not depend on where it was stopped: no times.</summary>
    public static string[] Outcome(RunFolder folder)
    {
        var checkpoints = new CheckpointFolder(folder.Checkpoints);
        long step = checkpoints.List()[^1];
        JsonNode state = JsonNode.Parse(File.ReadAllText(Path.Combine(checkpoints.PathOf(step), "state.json")))!;
        state["totals"]!.AsObject().Remove("seconds");
        return
        [
            $"step {step}: {Hash(checkpoints, step, "model")} {Hash(checkpoints, step, "optimizer")}", state.ToJsonString(), File.ReadAllText(folder.Samples),
            .. File.ReadLines(folder.Metrics).Select(line =>
            {
                JsonObject values = JsonNode.Parse(line)!.AsObject();
                foreach (string time in (string[])["tok_s", "data_wait", "seconds"]) Assert(values.Remove(time));
                return values.ToJsonString();
            }),
            .. File.ReadLines(Path.ChangeExtension(folder.Metrics, ".csv")).Select(line => string.Join(',', line.Split(',')[..^3])),
        ];
    }

    public void Dispose() => _folder.Dispose();

    private static string Hash(CheckpointFolder checkpoints, long step, string file)
        => Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(Path.Combine(checkpoints.PathOf(step), file + ".safetensors"))));

    private static void Assert(bool holds) => Xunit.Assert.True(holds);
}

/// <summary>A run that nobody disturbed, trained once for all tests that compare with it.</summary>
public sealed class StraightRun : IDisposable
{
    public StraightRun()
    {
        Folder = Case.Prepare("straight");
        RunCase.Train(Folder);
        Outcome = RunCase.Outcome(Folder);
    }

    internal RunCase Case { get; } = new();

    internal RunFolder Folder { get; }

    internal string[] Outcome { get; }

    public void Dispose() => Case.Dispose();
}

/// <summary>Writes down what a run tells, and can stop it.</summary>
internal sealed class Recorder : ITrainingObserver
{
    public List<int> Steps { get; } = [];
    public List<int> Saves { get; } = [];
    public List<string> Warnings { get; } = [];
    public CancellationTokenSource Stop { get; } = new();
    public Action<int>? OnStep { get; init; }

    public void Stepped(in TrainingStep step, RunTotals totals, EvaluationResult? evaluation)
    {
        Steps.Add(step.Step);
        OnStep?.Invoke(step.Step);
    }

    public void Saved(int step) => Saves.Add(step);

    public void Sampled(int step, string text)
    {
    }

    public void Warned(string message) => Warnings.Add(message);
}
