using Varlen.Data;
using Varlen.Nn;
using F = Varlen.Nn.Functional;

namespace Varlen.Models;

/// <summary>Sizes of a <see cref="Decoder"/>.</summary>
public sealed record DecoderConfig
{
    /// <summary>Number of token ids.</summary>
    public int VocabularySize { get; init; } = 1024;

    /// <summary>Longest sequence: the number of learned positions.</summary>
    public int MaxLength { get; init; } = 1024;

    /// <summary>Width of the activations; a multiple of <see cref="Heads"/>.</summary>
    public int Width { get; init; } = 1024;

    /// <summary>Attention heads.</summary>
    public int Heads { get; init; } = 16;

    /// <summary>Blocks.</summary>
    public int Layers { get; init; } = 24;
}

/// <summary>
/// A causal language model over packed sequences: token and position embeddings, pre-norm blocks of attention and a GELU network four times
/// as wide, and an output layer; norms without bias, no final norm, output not tied to the embedding.
/// </summary>
/// <remarks>Blocks hand on the residual stream and the part that is still to be added, so that each addition is fused into the next norm.</remarks>
public sealed class Decoder : CausalLanguageModel
{
    private readonly Embedding _embedding, _positions;
    private readonly DecoderBlock[] _blocks;
    private readonly Linear _output;

    /// <summary>Makes the model with initial weights drawn from a seed.</summary>
    public Decoder(DecoderConfig config, ulong seed = 0)
    {
        ArgumentNullException.ThrowIfNull(config);
        Config = config;
        _embedding = Register("embedding", new Embedding(config.VocabularySize, config.Width, std: 0.02, seed: seed));
        _positions = Register("positional_embedding", new Embedding(config.MaxLength, config.Width, std: 0.02, seed: seed + 1));
        _blocks = new DecoderBlock[config.Layers];
        for (int i = 0; i < _blocks.Length; i++) _blocks[i] = Register($"blocks.{i}", new DecoderBlock(config, seed + 100 + 10 * (ulong)i));
        _output = Register("output", new Linear(config.Width, config.VocabularySize, seed: seed + 2));
    }

    /// <summary>The model's sizes.</summary>
    public DecoderConfig Config { get; }

    /// <inheritdoc/>
    public override int VocabularySize => Config.VocabularySize;

    /// <inheritdoc/>
    public override int MaxLength => Config.MaxLength;

    /// <inheritdoc/>
    public override Tensor LossSum(PackedBatch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        using var frame = TensorScope.Begin();
        return frame.Return(F.LinearCrossEntropy(Features(batch), _output.Weight, _output.Bias, batch.Targets));
    }

    /// <summary>Logits, [tokens, vocabulary].</summary>
    protected override Tensor ForwardCore(PackedBatch input) => _output.Forward(Features(input));

    private Tensor Features(PackedBatch batch)
    {
        var stream = new ResidualState(F.EmbeddingSum(_embedding.Weight, batch.Tokens, _positions.Weight, batch.Positions), null);
        foreach (DecoderBlock block in _blocks) stream = block.Forward(stream, batch.Layout);
        return stream.Pending is null ? stream.Residual : stream.Residual + stream.Pending;
    }
}

/// <summary>The residual stream between blocks: its value is the sum of both parts.</summary>
/// <param name="Residual">What has been added up.</param>
/// <param name="Pending">What the next norm adds; null when nothing is.</param>
public readonly record struct ResidualState(Tensor Residual, Tensor? Pending) : ITensorBundle
{
    IEnumerable<Tensor?> ITensorBundle.Tensors => [Residual, Pending];
}

/// <summary>One block of a <see cref="Decoder"/>.</summary>
public sealed class DecoderBlock : Module<ResidualState, SequenceLayout, ResidualState>
{
    private readonly int _heads;
    private readonly LayerNorm _norm1, _norm2;
    private readonly Linear _qkv, _proj, _fc1, _fc2;

    /// <summary>Makes the block with initial weights drawn from a seed.</summary>
    public DecoderBlock(DecoderConfig config, ulong seed = 0)
    {
        ArgumentNullException.ThrowIfNull(config);
        if (config.Width % config.Heads != 0) throw new ArgumentException($"width {config.Width} is not a multiple of {config.Heads} heads", nameof(config));
        int width = config.Width;
        _heads = config.Heads;
        _norm1 = Register("norm1", new LayerNorm(width, bias: false));
        _norm2 = Register("norm2", new LayerNorm(width, bias: false));
        _qkv = Register("qkv", new Linear(width, 3 * width, seed: seed));
        _proj = Register("proj", new Linear(width, width, seed: seed + 1));
        _fc1 = Register("fc1", new Linear(width, 4 * width, seed: seed + 2));
        _fc2 = Register("fc2", new Linear(4 * width, width, seed: seed + 3));
    }

    /// <summary>Attention and network, each on the norm of the stream so far.</summary>
    protected override ResidualState ForwardCore(ResidualState first, SequenceLayout second)
    {
        (Tensor residual, Tensor normed) = first.Pending is { } pending
            ? F.AddLayerNorm(first.Residual, pending, _norm1.Weight)
            : (first.Residual, _norm1.Forward(first.Residual));
        Tensor[] qkv = _qkv.Forward(normed).View(-1, 3 * _heads, normed.Shape[-1] / _heads).Chunk(3, dimension: 1);
        Tensor attended = F.VarlenAttention(qkv[0], qkv[1], qkv[2], second, AttentionWindow.Causal);
        (residual, normed) = F.AddLayerNorm(residual, _proj.Forward(attended.View(-1, normed.Shape[-1])), _norm2.Weight);
        // The bias is added inside of the activation: one pass forward, and its gradient for free backward.
        Tensor hidden = F.Gelu(F.Linear(normed, _fc1.Weight), _fc1.Bias);
        return new ResidualState(residual, _fc2.Forward(hidden));
    }
}
