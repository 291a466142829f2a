using System.Diagnostics;
using Varlen.Backends;
using Varlen.Data;
using Varlen.Optim;

namespace Varlen.Training;

/// <summary>A step that runs on the device: what the host knows of it, and the read that tells what came of it.</summary>
internal sealed class StartedStep
{
    private readonly int _step, _tokens;
    private readonly long _padded;
    private readonly double _dataSeconds;

    public StartedStep(int step, double learningRate, long start, double dataSeconds, PackedBatch[] batches)
    {
        (_step, LearningRate, Start, _dataSeconds) = (step, learningRate, start, dataSeconds);
        foreach (PackedBatch batch in batches)
        {
            _tokens += batch.Layout.TotalTokens;
            Targets += batch.TargetCount;
            _padded += (long)batch.Layout.Count * batch.Layout.MaxLength;
        }
    }

    public double LearningRate { get; }

    /// <summary>When it was begun.</summary>
    public long Start { get; }

    public long Targets { get; }

    /// <summary>The step state behind the step; null when there was nothing to do.</summary>
    public PendingRead? Outcome { get; set; }

    /// <summary>Whether the device has finished it.</summary>
    public bool IsReady => Outcome is not { IsReady: false };

    /// <summary>Waits for it.</summary>
    public StepState.Values Wait() => Outcome is null ? new() { LossSum = double.NaN } : StepState.Finish(Outcome);

    /// <summary>The finished step.</summary>
    /// <param name="values">What <see cref="Wait"/> gave.</param>
    /// <param name="time">Ticks of the stopwatch that it took.</param>
    public TrainingStep ToStep(in StepState.Values values, long time) => new()
    {
        Step = _step, Loss = values.LossSum / Targets, LearningRate = LearningRate, GradientNorm = values.GradientNorm,
        Outcome = Outcome is null ? StepOutcome.NoTargets : values.Finite != 0 ? StepOutcome.Updated : StepOutcome.NotFinite,
        Tokens = _tokens, Targets = Targets, PaddedTokens = _padded, Seconds = time / (double)Stopwatch.Frequency, DataSeconds = _dataSeconds,
    };

    /// <summary>Forgets what came of it.</summary>
    public void Abandon() => Outcome?.Abandon();
}
