namespace Varlen.Training;

/// <summary>What became of a step's update.</summary>
public enum StepOutcome
{
    /// <summary>The weights were updated.</summary>
    Updated,

    /// <summary>The batches held no target, so there was nothing to learn; the weights are unchanged.</summary>
    NoTargets,

    /// <summary>The loss or a gradient was not finite; the weights and the optimiser's state are unchanged.</summary>
    NotFinite,
}

/// <summary>One finished step.</summary>
public readonly record struct TrainingStep
{
    /// <summary>Its number, from 1.</summary>
    public required int Step { get; init; }

    /// <summary>Mean cross entropy of its targets, in nats, before the update; NaN without targets.</summary>
    public required double Loss { get; init; }

    /// <summary>Learning rate.</summary>
    public required double LearningRate { get; init; }

    /// <summary>Global gradient norm before clipping.</summary>
    public required double GradientNorm { get; init; }

    /// <summary>What became of the update.</summary>
    public required StepOutcome Outcome { get; init; }

    /// <summary>Tokens of its batches.</summary>
    public required int Tokens { get; init; }

    /// <summary>Targets of its batches.</summary>
    public required long Targets { get; init; }

    /// <summary>Tokens that the same sequences would have taken when padded to the longest of each batch.</summary>
    public required long PaddedTokens { get; init; }

    /// <summary>Time of the step.</summary>
    public required double Seconds { get; init; }

    /// <summary>The part of it spent waiting for data.</summary>
    public required double DataSeconds { get; init; }
}
