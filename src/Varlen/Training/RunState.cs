using Varlen.Data;

namespace Varlen.Training;

/// <summary>What a checkpoint holds beside the tensors.</summary>
internal sealed record RunState
{
    public required int Step { get; init; }
    public required int SkippedSteps { get; init; }
    public required int NotFiniteInARow { get; init; }
    public required LoaderPosition Loader { get; init; }
    public required RunTotals Totals { get; init; }
    public int BestStep { get; init; }
    /// <summary>Null before the first evaluation.</summary>
    public double? BestLoss { get; init; }
    /// <summary>Null before the first evaluation, and when its loss is not finite: JSON has no such number.</summary>
    public EvaluationResult? Last { get; init; }
    /// <summary>Bytes of the samples' file: what follows belongs to steps that will be repeated.</summary>
    public long SampleBytes { get; init; }
}

/// <summary>Sums over a run's steps.</summary>
public sealed record RunTotals
{
    /// <summary>Tokens that went through the model.</summary>
    public long Tokens { get; init; }

    /// <summary>Targets that were learned from.</summary>
    public long Targets { get; init; }

    /// <summary>Tokens that the same batches would have taken, padded to the longest sequence of each.</summary>
    public long PaddedTokens { get; init; }

    /// <summary>Targets of steps that were skipped because something was not finite.</summary>
    public long SkippedTargets { get; init; }

    /// <summary>Time spent in steps, over all starts of the run.</summary>
    public double Seconds { get; init; }

    /// <summary>Tokens that were read without being targets that train, such as those of prompts.</summary>
    public long IgnoredTargets => Tokens - Targets - SkippedTargets;

    /// <summary>The share of padded batches' work on tokens that packing avoided, 0 to 1.</summary>
    public double PaddingAvoided => PaddedTokens == 0 ? 0 : 1 - (double)Tokens / PaddedTokens;

    internal RunTotals With(in TrainingStep step) => this with
    {
        Tokens = Tokens + step.Tokens,
        Targets = Targets + (step.Outcome == StepOutcome.Updated ? step.Targets : 0),
        PaddedTokens = PaddedTokens + step.PaddedTokens,
        SkippedTargets = SkippedTargets + (step.Outcome == StepOutcome.NotFinite ? step.Targets : 0),
        Seconds = Seconds + step.Seconds,
    };
}
