using System.Numerics;
using Varlen.Data;
using Varlen.Models;

namespace Varlen.Cli.Benchmarks;

/// <summary>What a step does with its batch.</summary>
internal enum StepMode
{
    /// <summary>The loss alone.</summary>
    Evaluate,
    /// <summary>Loss, gradients and an update.</summary>
    Train,
}

/// <summary>What turns gradients into new weights.</summary>
internal enum StepOptimizer
{
    /// <summary>AdamW.</summary>
    AdamW,
    /// <summary>Plain gradient descent.</summary>
    Sgd,
}

/// <summary>Which model is stepped.</summary>
internal enum StepModel
{
    /// <summary>A decoder: norms with bias, a final one, and an output layer of its own without bias. Full attention in evaluation.</summary>
    Decoder,
    /// <summary>The decoder of benchmarks/peers/steps.py by default: norms without bias, no final one, an output layer with bias. Full attention in evaluation.</summary>
    Reference,
    /// <summary>GPT-2 without dropout, its output layer tied. Causal attention in evaluation too.</summary>
    Gpt2,
}

/// <summary>Batches and the model that runs on them: what every strategy of a comparison gets alike.</summary>
/// <param name="Lengths">Lengths of the sequences; every batch has at least one target.</param>
/// <param name="Layers">Blocks.</param>
/// <param name="Width">Width of the activations.</param>
/// <param name="Heads">Attention heads; a divisor of <paramref name="Width"/>.</param>
/// <param name="Vocabulary">Token ids.</param>
/// <param name="Context">Positions, and what is padded to; at least the longest length.</param>
/// <param name="Device">Where to compute.</param>
/// <param name="DType">Type of weights and activations; masters are single precision at least.</param>
/// <param name="Seed">Decides weights and tokens.</param>
internal sealed record StepWorkload(LengthsSpec Lengths, int Layers, int Width, int Heads, int Vocabulary, int Context, Device Device, DType DType, ulong Seed)
{
    /// <summary>The model.</summary>
    public StepModel Model { get; init; }

    /// <summary>What training updates the weights with.</summary>
    public StepOptimizer Optimizer { get; init; }

    /// <summary>Whether steps are recorded and replayed.</summary>
    public bool Captures { get; init; }

    /// <summary>The optimiser's learning rate.</summary>
    public double LearningRate => Optimizer == StepOptimizer.Sgd ? 1e-3 : 1e-4;

    /// <summary>One workload for each batch.</summary>
    public IEnumerable<StepWorkload> Batches => Lengths.Batches.Select((lengths, index) => this with { Lengths = new LengthsSpec(Lengths.Name, lengths), Seed = Seed + (ulong)index });

    /// <summary>The lengths of benchmarks/peers/lengths/gpt_step.txt.</summary>
    public static LengthsSpec DefaultLengths { get; } = new("gpt_step", [98, 223, 169, 14, 94, 173, 11, 244, 216, 219, 115, 238, 114, 29, 225, 103]);

    /// <summary>Values of all weights that rows are multiplied by: 12 width^2 a block, and the output layer.</summary>
    public double LinearParameters => (double)Width * (12.0 * Layers * Width + Vocabulary);

    /// <summary>How far losses of one computation may lie apart, relative to the larger of 1 and the loss.</summary>
    public double LossTolerance => DType switch
    {
        DType.Float64 => 1e-9,
        DType.Float32 => 3e-5,
        _ => 1.0 / 256,
    };

    /// <summary>Whether attention is causal.</summary>
    public bool IsCausal(StepMode mode) => mode == StepMode.Train || Model == StepModel.Gpt2;

    /// <summary>The context of a batch that names none: the least power of two that holds its longest sequence.</summary>
    public static int DefaultContext(LengthsSpec lengths) => (int)Math.Min(int.MaxValue, BitOperations.RoundUpToPowerOf2((uint)lengths.Lengths.Max()));

    /// <summary>The model, the same in every strategy.</summary>
    public CausalLanguageModel CreateModel(StepMode mode) => Model == StepModel.Gpt2
        ? new Gpt2Model(new Gpt2Config
        {
            Layers = Layers, Width = Width, Heads = Heads, VocabularySize = Vocabulary, MaxLength = Context, EmbeddingDropout = 0, ResidualDropout = 0, AttentionDropout = 0, BeginOfText = null, EndOfText = null,
        }, Seed).To(Device, DType)
        : new Decoder(new DecoderConfig
        {
            Layers = Layers, Width = Width, Heads = Heads, VocabularySize = Vocabulary, MaxLength = Context,
            NormBias = Model == StepModel.Decoder, FinalNorm = Model == StepModel.Decoder, HeadBias = Model == StepModel.Reference, Causal = IsCausal(mode),
        }, Seed).To(Device, DType);

    /// <summary>The first batch's sequences. Those of GPT-2 are as HuggingFace has them: the last token predicts nothing.</summary>
    public IReadOnlyList<TokenSequence> Sequences()
    {
        IReadOnlyList<TokenSequence> drawn = new RandomTokenDataset(LengthDistribution.Listed([.. Lengths.Lengths]), Vocabulary, Seed).Batch(0, Lengths.Lengths.Count);
        return Model == StepModel.Gpt2 ? [.. drawn.Select(sequence => new TokenSequence(sequence.Tokens, WithoutLast(sequence.Targets)))] : drawn;
    }

    /// <summary>
    /// Floating-point operations of a step, from rows and lengths alone: 2 for each row and linear parameter, 4 width for each score of a
    /// layer; training adds twice the former and 2.5 times the latter.
    /// </summary>
    /// <param name="strategy">Decides rows and scores.</param>
    /// <param name="mode">What the step does.</param>
    public double Operations(StepStrategy strategy, StepMode mode)
    {
        bool causal = IsCausal(mode);
        double rows = strategy.Rows(this), scores = strategy.Attended(this, causal).Sum(sequence => causal ? 0.5 * sequence.Queries * (sequence.Keys + 1.0) : (double)sequence.Queries * sequence.Keys);
        (double products, double attention) = mode == StepMode.Train ? (3, 3.5) : (1, 1);
        return products * 2 * rows * LinearParameters + attention * 4 * Width * Layers * scores;
    }

    private static int[] WithoutLast(ReadOnlyMemory<int> targets)
    {
        int[] copy = targets.ToArray();
        if (copy.Length > 0) copy[^1] = PackedBatch.IgnoreIndex;
        return copy;
    }
}
