using Varlen.Data;
using Varlen.Models;
using Varlen.Optim;

namespace Varlen.Training;

/// <summary>What a training run does.</summary>
public sealed record TrainerOptions
{
    /// <summary>Optimiser steps.</summary>
    public int Steps { get; init; } = 200;

    /// <summary>Most tokens of a batch; at least the longest sequence.</summary>
    public int BatchTokens { get; init; } = 4096;

    /// <summary>Learning rate.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>The global gradient norm is clipped to this.</summary>
    public double ClipNorm { get; init; } = 1;

    /// <summary>Seed of the order of sequences.</summary>
    public int Seed { get; init; } = 1;
}

/// <summary>One finished step.</summary>
/// <param name="Step">Its number, from 1.</param>
/// <param name="Loss">Mean cross entropy of its targets, in nats.</param>
/// <param name="GradientNorm">Global gradient norm before clipping.</param>
/// <param name="Tokens">Tokens of its batch.</param>
/// <param name="Seconds">Time it took.</param>
public readonly record struct TrainingProgress(int Step, double Loss, double GradientNorm, int Tokens, double Seconds);

/// <summary>Trains a decoder on packed sequences with AdamW.</summary>
/// <remarks>The result depends on the data, the options and the model's seed only, not on the number of threads.</remarks>
public sealed class Trainer : IDisposable
{
    private readonly CausalLanguageModel _model;
    private readonly IReadOnlyList<TokenSequence> _sequences;
    private readonly TrainerOptions _options;
    private readonly AdamW _optimizer;
    private readonly StepState _state;

    /// <summary>Prepares a run; nothing is trained yet.</summary>
    /// <param name="model">The model, which stays its owner's.</param>
    /// <param name="sequences">What to train on, each at most as long as the model's positions and the batch.</param>
    /// <param name="options">The run.</param>
    /// <exception cref="ArgumentException">There are no sequences, or one is too long; the message names it.</exception>
    public Trainer(CausalLanguageModel model, IReadOnlyList<TokenSequence> sequences, TrainerOptions options)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(sequences);
        ArgumentNullException.ThrowIfNull(options);
        if (sequences.Count == 0) throw new ArgumentException("there are no sequences to train on", nameof(sequences));
        int limit = Math.Min(model.MaxLength, options.BatchTokens);
        for (int i = 0; i < sequences.Count; i++)
            if (sequences[i].Tokens.Length > limit) throw new ArgumentException($"sequence {i} has {sequences[i].Tokens.Length} tokens, more than {limit}; cut it with TokenSequence.Cut", nameof(sequences));
        (_model, _sequences, _options) = (model, sequences, options);
        _optimizer = new AdamW(model.NamedParameters(), options.LearningRate);
        _state = new StepState(model.Parameters()[0].Master.Device, (ulong)options.Seed);
    }

    /// <summary>Trains for the options' steps, or until cancelled between two of them.</summary>
    public void Run(IProgress<TrainingProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        int step = 0;
        foreach (IReadOnlyList<TokenSequence> sequences in Batches())
        {
            if (step == _options.Steps || cancellationToken.IsCancellationRequested) return;
            long start = System.Diagnostics.Stopwatch.GetTimestamp();
            using PackedBatch batch = PackedBatch.Create(sequences, _state.Device);
            double loss = Step(++step, batch);
            progress?.Report(new(step, loss, _state.ReadGradientNorm(), batch.Layout.TotalTokens, System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalSeconds));
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _optimizer.Dispose();
        _state.Dispose();
    }

    private double Step(int step, PackedBatch batch)
    {
        using TensorScope scope = TensorScope.Begin();
        _state.Begin(step, _options.LearningRate, lossScale: 1.0 / batch.TargetCount);
        Tensor loss = _model.LossSum(batch);
        _optimizer.ZeroGrad();
        loss.Backward(_state.LossGradient);
        GradientClipping.Apply(_optimizer.Parameters, _options.ClipNorm, _state);
        _optimizer.Step(_state);
        return loss.Item() / batch.TargetCount;
    }

    /// <summary>Batches without end: each epoch in an order of its own, every sequence once.</summary>
    private IEnumerable<IReadOnlyList<TokenSequence>> Batches()
    {
        for (int epoch = 0; ; epoch++)
        {
            TokenSequence[] order = [.. _sequences];
            new Random(unchecked(_options.Seed * 1_000_003 + epoch)).Shuffle(order);
            foreach (IReadOnlyList<TokenSequence> batch in SequencePacker.Pack(order, _options.BatchTokens)) yield return batch;
        }
    }
}
