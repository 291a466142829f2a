using System.Text.Json.Serialization;

namespace Varlen.Training;

/// <summary>What turns gradients into new weights.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<OptimizerKind>))]
public enum OptimizerKind
{
    /// <summary><see cref="Optim.AdamW"/> with betas 0.9 and 0.95, weight decay on matrices only.</summary>
    [JsonStringEnumMemberName("adamw")] AdamW,

    /// <summary><see cref="Optim.Sgd"/> with momentum 0.9.</summary>
    [JsonStringEnumMemberName("sgd")] Sgd,
}

/// <summary>How a <see cref="Trainer"/> learns.</summary>
public sealed record TrainerOptions
{
    /// <summary>Optimiser steps of the plan.</summary>
    public int Steps { get; init; } = 500;

    /// <summary>Batches that one step takes from the loader; their losses are divided by their targets together.</summary>
    public int MicroBatches { get; init; } = 1;

    /// <summary>Learning rate after the warm-up.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Learning rate at the end of a decay.</summary>
    public double FinalLearningRate { get; init; } = 1e-4;

    /// <summary>Steps in which the learning rate rises.</summary>
    public int WarmupSteps { get; init; } = 20;

    /// <summary>How it falls afterwards.</summary>
    public LearningRateDecay Decay { get; init; } = LearningRateDecay.Cosine;

    /// <summary>The global gradient norm is clipped to this; null does not clip.</summary>
    public double? ClipNorm { get; init; } = 1;

    /// <summary>Decoupled weight decay of parameters with two or more dimensions.</summary>
    public double WeightDecay { get; init; } = 0.1;

    /// <summary>The optimiser.</summary>
    public OptimizerKind Optimizer { get; init; } = OptimizerKind.AdamW;

    /// <summary>
    /// Whether a device records the step once and replays it: see <see cref="CapturedStep"/>. Batches are computed as if each had as many tokens as the
    /// loader's budget, so it pays where launches take longer than what they start, as with small models on a GPU.
    /// </summary>
    public bool Capture { get; init; }

    /// <summary>Seed of dropout.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>The learning rate of every step.</summary>
    public LearningRateSchedule Schedule() => new(LearningRate, Steps, WarmupSteps, Decay, FinalLearningRate);

    internal void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(Steps, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MicroBatches, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(WarmupSteps);
        if (!(LearningRate > 0) || !double.IsFinite(LearningRate)) throw new ArgumentOutOfRangeException(nameof(LearningRate), LearningRate, "the learning rate must be finite and above 0");
        if (!(FinalLearningRate >= 0) || !double.IsFinite(FinalLearningRate)) throw new ArgumentOutOfRangeException(nameof(FinalLearningRate), FinalLearningRate, "the final learning rate must be finite and not negative");
    }
}
