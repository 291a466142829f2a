using Varlen.Ops;
using F = Varlen.Nn.Functional;

namespace Varlen.Data;

/// <summary>
/// Sequences as rows of equal length, padded on the right: <c>Rows = sequences x Length</c>, and every layer of a model computes the padding
/// too. Padding is told by the layout, never by a token's value, and changes neither loss nor gradients.
/// </summary>
public sealed class PaddedBatch : TokenBatch
{
    private PaddedBatch(IReadOnlyList<TokenSequence> sequences, SequenceLayout layout, PaddedIndices padding, AttentionStrategy attention, Device? device)
        : base(sequences, layout, padding, attention, device)
        => Length = padding.SequenceLength;

    /// <summary>Tokens of a padded sequence.</summary>
    public int Length { get; }

    /// <summary>Pads sequences; attention runs over the padding too, and hides it by a mask.</summary>
    /// <param name="sequences">Token ids and targets of equal length.</param>
    /// <param name="length">What each is padded to; the longest sequence's length when null.</param>
    /// <param name="device">Device; the CPU when null.</param>
    /// <exception cref="ArgumentException">A sequence is longer than <paramref name="length"/>, its targets differ in number from its tokens, or an id is negative; the message names it.</exception>
    public static PaddedBatch Create(IReadOnlyList<TokenSequence> sequences, int? length = null, Device? device = null)
    {
        (SequenceLayout layout, PaddedIndices padding) = Pad(sequences, length);
        return new(sequences, layout, padding, new PaddedAttention(layout, padding.SequenceLength, device), device);
    }

    /// <summary>Pads sequences; around attention, each layer takes the padding out and puts it back.</summary>
    /// <inheritdoc cref="Create"/>
    public static PaddedBatch CreateUnpadded(IReadOnlyList<TokenSequence> sequences, int? length = null, Device? device = null)
    {
        (SequenceLayout layout, PaddedIndices padding) = Pad(sequences, length);
        return new(sequences, layout, padding, new UnpaddedAttention(layout, padding, device), device);
    }

    private static (SequenceLayout Layout, PaddedIndices Padding) Pad(IReadOnlyList<TokenSequence> sequences, int? length)
    {
        SequenceLayout layout = LayoutOf(sequences);
        int columns = length ?? layout.MaxLength;
        int longest = layout.Lengths.IndexOf(layout.MaxLength);
        if (columns < layout.MaxLength)
            throw new ArgumentException($"sequence {longest} has {layout.MaxLength} tokens, more than the {columns} that are padded to; cut it with TokenSequence.Cut", nameof(sequences));
        return (layout, PaddedIndices.PadRight(layout, columns));
    }
}

/// <summary>Scaled dot-product attention over a dense batch, with the padding's keys hidden by a mask.</summary>
public sealed class PaddedAttention : AttentionStrategy
{
    private readonly int _batch, _length;
    // Null where nothing is padded.
    private readonly Tensor? _mask;

    /// <summary>Makes the mask.</summary>
    /// <param name="layout">The sequences; one per row of the dense batch.</param>
    /// <param name="length">Tokens of a padded sequence, at least the longest one's.</param>
    /// <param name="device">Device; the CPU when null.</param>
    public PaddedAttention(SequenceLayout layout, int length, Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(layout);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, layout.MaxLength);
        (_batch, _length) = (layout.Count, length);
        var real = new bool[checked(_batch * length)];
        for (int i = 0; i < _batch; i++) real.AsSpan(i * length, layout.Lengths[i]).Fill(true);
        if (layout.TotalTokens < real.Length) _mask = Tensor.From(real, [_batch, 1, 1, length], device).Keep();
    }

    /// <inheritdoc/>
    public override Tensor Attend(Tensor query, Tensor key, Tensor value, AttentionLayer layer)
    {
        ArgumentNullException.ThrowIfNull(query);
        Tensor attended = F.ScaledDotProductAttention(Dense(query, nameof(query)), Dense(key, nameof(key)), Dense(value, nameof(value)), _mask, Options(layer, AttentionAlignment.TopLeft));
        return attended.Transpose(1, 2).Contiguous().View(query.Shape.Dimensions);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _mask?.Dispose();
        base.Dispose(disposing);
    }

    private Tensor Dense(Tensor rows, string parameter)
    {
        ArgumentNullException.ThrowIfNull(rows, parameter);
        Op.Check(rows.Shape.Rank == 3 && rows.Shape[0] == _batch * _length, nameof(Attend), parameter, $"{parameter} is {rows.Shape}; expected [{_batch * _length}, heads, headDim]");
        return rows.View(_batch, _length, rows.Shape[1], rows.Shape[2]).Transpose(1, 2);
    }
}
