using System.Diagnostics;
using Varlen.Backends;
using Varlen.Data;
using Varlen.Optim;

namespace Varlen.Training;

/// <summary>A step that runs on the device: what the host knows of it, and the read that tells what came of it.</summary>
internal sealed class StartedStep
{
    private readonly int _step, _tokens;
    private readonly long _start, _padded;
    private readonly double _dataSeconds;

    public StartedStep(int step, double learningRate, long start, double dataSeconds, PackedBatch[] batches)
    {
        (_step, LearningRate, _start, _dataSeconds) = (step, learningRate, start, dataSeconds);
        foreach (PackedBatch batch in batches)
        {
            _tokens += batch.Layout.TotalTokens;
            Targets += batch.TargetCount;
            _padded += (long)batch.Layout.Count * batch.Layout.MaxLength;
        }
    }

    public double LearningRate { get; }

    public long Targets { get; }

    /// <summary>The step state behind the step; null when there was nothing to do.</summary>
    public PendingRead? Outcome { get; set; }

    /// <summary>Waits for the step.</summary>
    /// <param name="previous">When the step before was completed: the time of a step that began before is counted from there.</param>
    public TrainingStep Complete(long previous)
    {
        StepState.Values values = Outcome is null ? new() { LossSum = double.NaN } : StepState.Finish(Outcome);
        return new TrainingStep
        {
            Step = _step, Loss = values.LossSum / Targets, LearningRate = LearningRate, GradientNorm = values.GradientNorm,
            Outcome = Outcome is null ? StepOutcome.NoTargets : values.Finite != 0 ? StepOutcome.Updated : StepOutcome.NotFinite,
            Tokens = _tokens, Targets = Targets, PaddedTokens = _padded, Seconds = Stopwatch.GetElapsedTime(Math.Max(_start, previous)).TotalSeconds, DataSeconds = _dataSeconds,
        };
    }

    /// <summary>Forgets what came of it.</summary>
    public void Abandon() => Outcome?.Abandon();
}
