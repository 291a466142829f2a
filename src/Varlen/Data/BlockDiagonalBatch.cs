using F = Varlen.Nn.Functional;

namespace Varlen.Data;

/// <summary>Sequences one after the other, with xFormers' block-diagonal mask object to tell them apart.</summary>
public sealed class BlockDiagonalBatch : TokenBatch
{
    private BlockDiagonalBatch(IReadOnlyList<TokenSequence> sequences, SequenceLayout layout, BlockDiagonalAttention attention, Device? device)
        : base(sequences, layout, null, attention, device)
        => Mask = attention.Mask;

    /// <summary>The mask of full attention within each sequence.</summary>
    public BlockDiagonalMask Mask { get; }

    /// <summary>Joins sequences.</summary>
    /// <param name="sequences">Token ids and targets of equal length.</param>
    /// <param name="device">Device; the CPU when null.</param>
    /// <exception cref="ArgumentException">A sequence's targets differ in number from its tokens, or an id is negative; the message names it.</exception>
    public static BlockDiagonalBatch Create(IReadOnlyList<TokenSequence> sequences, Device? device = null)
    {
        SequenceLayout layout = LayoutOf(sequences);
        return new(sequences, layout, new BlockDiagonalAttention(BlockDiagonalMask.FromSeqlens(layout.Lengths)), device);
    }
}

/// <summary>Memory-efficient attention under a block-diagonal mask, made causal or local (aligned top-left) where a layer asks for it.</summary>
/// <param name="mask">The mask of full attention; owned.</param>
public sealed class BlockDiagonalAttention(BlockDiagonalMask mask) : AttentionStrategy
{
    // Shares the layouts of the full mask, which releases them.
    private readonly BlockDiagonalMask _causal = mask.MakeCausal();

    /// <summary>The mask of full attention.</summary>
    public BlockDiagonalMask Mask => mask;

    internal override (SequenceLayout, SequenceLayout, SequenceLayout)? Layouts => (_causal.QueryLayout, mask.QueryLayout, mask.KeyLayout);

    /// <inheritdoc/>
    public override Tensor Attend(Tensor query, Tensor key, Tensor value, AttentionLayer layer)
        => F.MemoryEfficientAttention(query, key, value, Masked(layer), layer.Scale, layer.Dropout);

    private BlockDiagonalMask Masked(AttentionLayer layer)
        => !layer.Causal ? mask : layer.Previous is { } previous and < int.MaxValue ? mask.MakeLocalAttention(previous + 1) : _causal;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        mask.Dispose();
        base.Dispose(disposing);
    }
}
