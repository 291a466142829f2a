namespace Varlen;

/// <summary>
/// Where packed tokens stand in padded rows <c>[Batch, SequenceLength]</c>: packed token t is padded slot <c>Slots[t]</c>, counted row after
/// row. Packs padded values and puts packed ones back. Immutable, safe to share between threads.
/// </summary>
public sealed class PaddedIndices
{
    private readonly int[] _slots;

    internal PaddedIndices(int batch, int sequenceLength, int[] slots) => (Batch, SequenceLength, _slots) = (batch, sequenceLength, slots);

    /// <summary>Number of rows.</summary>
    public int Batch { get; }

    /// <summary>Columns of a row.</summary>
    public int SequenceLength { get; }

    /// <summary>The padded slot of each packed token: <c>[TotalTokens]</c>, ascending.</summary>
    public ReadOnlySpan<int> Slots => _slots;

    /// <summary>Rows of one sequence each, padded on the right.</summary>
    /// <param name="layout">The sequences; sequence i becomes row i.</param>
    /// <param name="sequenceLength">Columns of a row, at least the longest sequence's length.</param>
    /// <exception cref="ArgumentException">A sequence is longer than a row, or there would be more than <see cref="int.MaxValue"/> slots.</exception>
    public static PaddedIndices PadRight(SequenceLayout layout, int sequenceLength)
    {
        ArgumentNullException.ThrowIfNull(layout);
        if (sequenceLength < layout.MaxLength)
            throw new ArgumentException($"rows of {sequenceLength} columns cannot hold a sequence of {layout.MaxLength} tokens; use at least the layout's MaxLength", nameof(sequenceLength));
        if ((long)layout.Count * sequenceLength > int.MaxValue)
            throw new ArgumentException($"{layout.Count} rows of {sequenceLength} columns are more than {int.MaxValue} slots; split the batch", nameof(sequenceLength));
        var slots = new int[layout.TotalTokens];
        for (int row = 0; row < layout.Count; row++)
        {
            (int start, int length) = layout[row];
            for (int i = 0; i < length; i++) slots[start + i] = row * sequenceLength + i;
        }
        return new(layout.Count, sequenceLength, slots);
    }

    /// <summary>Gathers the real tokens of padded values.</summary>
    /// <param name="padded"><c>[Batch, SequenceLength, width]</c>.</param>
    /// <param name="packed">Receives <c>[TotalTokens, width]</c>.</param>
    /// <param name="width">Elements of a token.</param>
    /// <exception cref="ArgumentException">A length does not fit.</exception>
    public void Pack<T>(ReadOnlySpan<T> padded, Span<T> packed, int width = 1)
    {
        RequireLengths(padded.Length, nameof(padded), packed.Length, nameof(packed), width);
        for (int token = 0; token < _slots.Length; token++)
            padded.Slice(_slots[token] * width, width).CopyTo(packed.Slice(token * width, width));
    }

    /// <summary>Puts packed tokens into padded values.</summary>
    /// <param name="packed"><c>[TotalTokens, width]</c>.</param>
    /// <param name="padded">Receives <c>[Batch, SequenceLength, width]</c>; every element is written.</param>
    /// <param name="fill">What padding gets.</param>
    /// <param name="width">Elements of a token.</param>
    /// <exception cref="ArgumentException">A length does not fit.</exception>
    public void Unpack<T>(ReadOnlySpan<T> packed, Span<T> padded, T fill, int width = 1)
    {
        RequireLengths(padded.Length, nameof(padded), packed.Length, nameof(packed), width);
        padded.Fill(fill);
        for (int token = 0; token < _slots.Length; token++)
            packed.Slice(token * width, width).CopyTo(padded.Slice(_slots[token] * width, width));
    }

    /// <summary>The slots as a tensor.</summary>
    internal Tensor SlotsOn(Device? device) => Tensor.From(_slots, [_slots.Length], device);

    /// <summary>For each slot its token, or -1.</summary>
    internal Tensor TokensOn(Device? device)
    {
        var tokens = new int[Batch * SequenceLength];
        Array.Fill(tokens, -1);
        for (int token = 0; token < _slots.Length; token++) tokens[_slots[token]] = token;
        return Tensor.From(tokens, [tokens.Length], device);
    }

    // The spans' own lengths are ints, so once they match no product below overflows.
    private void RequireLengths(int padded, string paddedName, int packed, string packedName, int width)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        if (padded != (long)Batch * SequenceLength * width)
            throw new ArgumentException($"{paddedName} has {padded} elements, and {Batch} rows of {SequenceLength} tokens of {width} have {(long)Batch * SequenceLength * width}", paddedName);
        if (packed != (long)_slots.Length * width)
            throw new ArgumentException($"{packedName} has {packed} elements, and {_slots.Length} tokens of {width} have {(long)_slots.Length * width}", packedName);
    }
}
