using F = Varlen.Nn.Functional;

namespace Varlen.Data;

/// <summary>Sequences as the items of a jagged tensor, PyTorch's nested one: no padding, and attention is the jagged form of SDPA.</summary>
public sealed class JaggedBatch : TokenBatch
{
    private JaggedBatch(IReadOnlyList<TokenSequence> sequences, SequenceLayout layout, Device? device)
        : base(sequences, layout, null, new JaggedAttention(layout), device)
    {
    }

    /// <summary>The token ids as a jagged tensor.</summary>
    public JaggedTensor Items => new(Tokens, Layout);

    /// <summary>Joins sequences.</summary>
    /// <param name="sequences">Token ids and targets of equal length.</param>
    /// <param name="device">Device; the CPU when null.</param>
    /// <exception cref="ArgumentException">A sequence's targets differ in number from its tokens, or an id is negative; the message names it.</exception>
    public static JaggedBatch Create(IReadOnlyList<TokenSequence> sequences, Device? device = null)
        => new(sequences, LayoutOf(sequences), device);
}

/// <summary>Scaled dot-product attention on jagged tensors.</summary>
/// <param name="layout">Where the items lie; not owned.</param>
public sealed class JaggedAttention(SequenceLayout layout) : AttentionStrategy
{
    internal override (SequenceLayout, SequenceLayout, SequenceLayout)? Layouts => (layout, layout, layout);

    /// <inheritdoc/>
    public override Tensor Attend(Tensor query, Tensor key, Tensor value, AttentionLayer layer)
        => F.ScaledDotProductAttention(new JaggedTensor(query, layout), new JaggedTensor(key, layout), new JaggedTensor(value, layout), Options(layer, AttentionAlignment.TopLeft)).Values;
}
