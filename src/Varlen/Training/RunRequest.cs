using Varlen.Data;

namespace Varlen.Training;

/// <summary>What a user asks of a run; whatever is null is chosen by looking at data and machine.</summary>
public sealed record RunRequest
{
    /// <summary>Files and folders of text.</summary>
    public required IReadOnlyList<string> Data { get; init; }

    /// <summary>How they are read.</summary>
    public TextCorpusOptions Reading { get; init; } = new();

    /// <summary>How messages become text: <c>auto</c>, which is the format of the pretrained model, or one of <see cref="Text.ChatFormat.Names"/>.</summary>
    public string ChatFormat { get; init; } = "auto";

    /// <summary><c>auto</c>, <c>tiny</c>, <c>small</c>, a <c>config.json</c> of GPT-2 or Llama's like (with the tokenizer's vocabulary in place of its own), or a folder with a pretrained model.</summary>
    public string Model { get; init; } = "auto";

    /// <summary><c>auto</c>, <c>byte</c>, <c>bpe:N</c>, or a <c>tokenizer.json</c>.</summary>
    public string Tokenizer { get; init; } = "auto";

    /// <summary>Longest sequence.</summary>
    public int? Context { get; init; }

    /// <summary>Most tokens of a batch.</summary>
    public int? BatchTokens { get; init; }

    /// <summary>Batches of a step.</summary>
    public int MicroBatches { get; init; } = 1;

    /// <summary>Optimiser steps.</summary>
    public int? Steps { get; init; }

    /// <summary>Learning rate after the warm-up.</summary>
    public double? LearningRate { get; init; }

    /// <summary>Steps of the warm-up.</summary>
    public int? WarmupSteps { get; init; }

    /// <summary>How the learning rate falls.</summary>
    public LearningRateDecay Decay { get; init; } = LearningRateDecay.Cosine;

    /// <summary>Largest gradient norm; 0 does not clip.</summary>
    public double ClipNorm { get; init; } = 1;

    /// <summary>Weight decay.</summary>
    public double WeightDecay { get; init; } = 0.1;

    /// <summary>The optimiser.</summary>
    public OptimizerKind Optimizer { get; init; } = OptimizerKind.AdamW;

    /// <summary>How sequences are grouped.</summary>
    public PackingPolicy Packing { get; init; } = PackingPolicy.BestFit;

    /// <summary>Steps between evaluations.</summary>
    public int? EvaluateEvery { get; init; }

    /// <summary>Steps between checkpoints.</summary>
    public int? SaveEvery { get; init; }

    /// <summary>Element type of activations.</summary>
    public DType? Precision { get; init; }

    /// <summary>Whether results must depend on neither the batch nor the run.</summary>
    public bool Deterministic { get; init; }

    /// <summary>Whether the device records the step once and replays it.</summary>
    public bool Capture { get; init; }

    /// <summary>Seed of everything.</summary>
    public int Seed { get; init; } = 1;
}
