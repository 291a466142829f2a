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

    /// <summary>Pads sequences; attention's queries are the padding's too, and no token sees its keys.</summary>
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

/// <summary>
/// Attention over dense rows of one length, in which the padding computes too and is seen by no real token. Padding stands on the right, so
/// a causal query cannot reach it, and no mask is needed; full attention goes over the real keys of each row alone. So every kernel that
/// packed attention has serves this one as well.
/// </summary>
public sealed class PaddedAttention : AttentionStrategy
{
    private readonly SequenceLayout _rows, _queries, _keys;

    /// <summary>Lays out the rows.</summary>
    /// <param name="layout">The sequences; one per row of the dense batch.</param>
    /// <param name="length">Tokens of a padded sequence, at least the longest one's.</param>
    /// <param name="device">Device; the CPU when null.</param>
    public PaddedAttention(SequenceLayout layout, int length, Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(layout);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, layout.MaxLength);
        int batch = layout.Count;
        int[] rows = new int[batch], queries = new int[2 * batch], keys = new int[2 * batch];
        var documents = new ulong[2 * batch];
        for (int i = 0; i < batch; i++)
        {
            // Behind each row's real keys stands a sequence of the others, which nothing asks for.
            (rows[i], queries[2 * i], keys[2 * i], keys[(2 * i) + 1]) = (length, length, layout.Lengths[i], length - layout.Lengths[i]);
            (documents[2 * i], documents[(2 * i) + 1]) = (layout.DocumentKeys[i], layout.DocumentKeys[i]);
        }
        _rows = Keyed(rows, layout.DocumentKeys);
        (_queries, _keys) = (Keyed(queries, documents), Keyed(keys, documents));
        if (device is null) return;
        foreach (SequenceLayout each in (SequenceLayout[])[_rows, _queries, _keys]) each.CuSeqlensOn(device);
    }

    internal override (SequenceLayout, SequenceLayout, SequenceLayout)? Layouts => (_rows, _queries, _keys);

    /// <inheritdoc/>
    public override Tensor Attend(Tensor query, Tensor key, Tensor value, AttentionLayer layer)
    {
        Check(query, nameof(query));
        Check(key, nameof(key));
        Check(value, nameof(value));
        return layer.Causal ? F.VarlenAttention(query, key, value, _rows, _rows, Options(layer)) : F.VarlenAttention(query, key, value, _queries, _keys, Options(layer, AttentionAlignment.TopLeft));
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _rows.Dispose();
        _queries.Dispose();
        _keys.Dispose();
        base.Dispose(disposing);
    }

    private static SequenceLayout Keyed(int[] lengths, ReadOnlySpan<ulong> documents)
    {
        using SequenceLayout plain = SequenceLayout.FromLengths(lengths);
        return plain.WithDocumentKeys(documents);
    }

    private void Check(Tensor rows, string parameter)
    {
        ArgumentNullException.ThrowIfNull(rows, parameter);
        Op.Check(rows.Shape.Rank == 3 && rows.Shape[0] == _rows.TotalTokens, nameof(Attend), parameter, $"{parameter} is {rows.Shape}; expected [{_rows.TotalTokens}, heads, headDim]");
    }
}
