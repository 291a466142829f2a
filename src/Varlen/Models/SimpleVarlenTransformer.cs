using Varlen.Nn;
using F = Varlen.Nn.Functional;

namespace Varlen.Models;

/// <summary>
/// Causal self-attention over packed sequences, as in PyTorch's tutorial on <c>varlen_attn</c>: one fused projection without bias, attention
/// confined to each document, an output projection.
/// </summary>
public sealed class SimpleVarlenAttention : Module<Tensor, SequenceLayout, Tensor>
{
    private readonly int _heads;
    private readonly Linear _qkvProjection, _outProjection;

    /// <summary>Makes the layer with initial weights drawn from a seed.</summary>
    /// <param name="embedDim">Width of the activations.</param>
    /// <param name="numHeads">Heads; must divide the width.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The heads do not divide the width.</exception>
    public SimpleVarlenAttention(int embedDim, int numHeads, ulong seed = 0)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(numHeads, 1);
        if (embedDim % numHeads != 0) throw new ArgumentException($"width {embedDim} is not a multiple of {numHeads} heads", nameof(numHeads));
        _heads = numHeads;
        _qkvProjection = Register("qkv_proj", new Linear(embedDim, 3 * embedDim, bias: false, seed: seed));
        _outProjection = Register("out_proj", new Linear(embedDim, embedDim, bias: false, seed: seed + 1));
    }

    /// <summary>[batch, length, width] or [tokens, width] to the same shape.</summary>
    protected override Tensor ForwardCore(Tensor first, SequenceLayout second)
    {
        int embed = first.Shape[-1];
        Tensor[] qkv = _qkvProjection.Forward(first.View(-1, embed)).View(-1, 3 * _heads, embed / _heads).Chunk(3, dimension: 1);
        Tensor attended = F.VarlenAttention(qkv[0], qkv[1], qkv[2], second, AttentionWindow.Causal);
        return _outProjection.Forward(attended.View(-1, embed)).View(first.Shape.Dimensions);
    }
}

/// <summary>The tutorial's one-layer transformer: embedding, attention with a residual, layer norm. It returns features, not logits.</summary>
public sealed class SimpleVarlenTransformer : Module<Tensor, SequenceLayout, Tensor>
{
    private readonly Embedding _tokenEmbeddings;
    private readonly SimpleVarlenAttention _attention;
    private readonly LayerNorm _norm;

    /// <summary>Makes the model with initial weights drawn from a seed.</summary>
    /// <param name="vocabSize">Number of token ids.</param>
    /// <param name="embedDim">Width of the activations.</param>
    /// <param name="numHeads">Heads; must divide the width.</param>
    /// <param name="seed">Seed of the weights.</param>
    public SimpleVarlenTransformer(int vocabSize, int embedDim, int numHeads, ulong seed = 0)
    {
        _tokenEmbeddings = Register("tok_embeddings", new Embedding(vocabSize, embedDim, seed: seed));
        _attention = Register("attention", new SimpleVarlenAttention(embedDim, numHeads, seed + 1));
        _norm = Register("norm", new LayerNorm(embedDim));
    }

    /// <summary>Token ids [batch, length] or [tokens] to features [..., width].</summary>
    protected override Tensor ForwardCore(Tensor first, SequenceLayout second)
    {
        Tensor x = _tokenEmbeddings.Forward(first);
        x += _attention.Forward(x, second);
        return _norm.Forward(x);
    }
}
