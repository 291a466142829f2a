using System.Numerics;

namespace Varlen;

public sealed partial class SequenceLayout
{
    /// <summary>
    /// A layout from token ids with end-of-sequence markers, as <c>create_varlen_metadata</c> of PyTorch's tutorial on variable-length
    /// attention. A marker belongs to the document that it ends, a row's end always ends a document, and consecutive markers make
    /// documents of length 1. No rows, and rows of no columns (where the tutorial fails), give a layout without sequences.
    /// </summary>
    /// <param name="ids">Token ids, <c>[batch, sequenceLength]</c>, row after row.</param>
    /// <param name="batch">Number of rows.</param>
    /// <param name="sequenceLength">Tokens of a row.</param>
    /// <param name="eosId">The id that ends a document.</param>
    /// <exception cref="ArgumentException"><paramref name="ids"/> does not have batch * sequenceLength elements.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A size is negative.</exception>
    public static SequenceLayout FromEos(ReadOnlySpan<long> ids, int batch, int sequenceLength, long eosId)
    {
        RequireRows(ids.Length, batch, sequenceLength, nameof(ids));
        return SplitAtMarkers(ids, sequenceLength, eosId);
    }

    /// <inheritdoc cref="FromEos(ReadOnlySpan{long}, int, int, long)"/>
    public static SequenceLayout FromEos(ReadOnlySpan<int> ids, int batch, int sequenceLength, long eosId)
    {
        RequireRows(ids.Length, batch, sequenceLength, nameof(ids));
        return SplitAtMarkers(ids, sequenceLength, eosId);
    }

    /// <summary>
    /// A layout from position ids: a document starts at each row's start and wherever a position is not its predecessor plus 1, and
    /// each document must start at <paramref name="start"/>.
    /// </summary>
    /// <param name="positionIds">Position ids, <c>[batch, sequenceLength]</c>, row after row; for a packed batch, one row.</param>
    /// <param name="batch">Number of rows.</param>
    /// <param name="sequenceLength">Tokens of a row.</param>
    /// <param name="start">Position of a document's first token. The layout's own <see cref="PositionIds"/> count from 0 whatever it is.</param>
    /// <exception cref="ArgumentException">A document starts elsewhere, or the number of ids is not batch * sequenceLength; the message names the index.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A size is negative.</exception>
    public static SequenceLayout FromPositionIds(ReadOnlySpan<long> positionIds, int batch, int sequenceLength, long start = 0)
    {
        RequireRows(positionIds.Length, batch, sequenceLength, nameof(positionIds));
        return SplitAtRestarts(positionIds, sequenceLength, start, nameof(positionIds));
    }

    /// <inheritdoc cref="FromPositionIds(ReadOnlySpan{long}, int, int, long)"/>
    public static SequenceLayout FromPositionIds(ReadOnlySpan<int> positionIds, int batch, int sequenceLength, long start = 0)
    {
        RequireRows(positionIds.Length, batch, sequenceLength, nameof(positionIds));
        return SplitAtRestarts(positionIds, sequenceLength, start, nameof(positionIds));
    }

    private static SequenceLayout SplitAtMarkers<T>(ReadOnlySpan<T> ids, int sequenceLength, long eosId) where T : IBinaryInteger<T>
    {
        var offsets = new List<int> { 0 };
        for (int i = 0, column = 0; i < ids.Length; i++)
        {
            bool rowEnds = ++column == sequenceLength;
            if (rowEnds) column = 0;
            if (rowEnds || long.CreateTruncating(ids[i]) == eosId) offsets.Add(i + 1);
        }
        return new([.. offsets]);
    }

    private static SequenceLayout SplitAtRestarts<T>(ReadOnlySpan<T> positions, int sequenceLength, long start, string parameter) where T : IBinaryInteger<T>
    {
        var offsets = new List<int>();
        long previous = 0;
        for (int i = 0, column = 0; i < positions.Length; i++)
        {
            long position = long.CreateTruncating(positions[i]);
            // Compared before subtracting: the largest position has no successor.
            if (column == 0 || position <= previous || position - previous != 1)
            {
                if (position != start)
                    throw new ArgumentException($"{parameter}[{i}] = {position} (row {i / sequenceLength}, column {column}) starts a document, {(column == 0 ? "as a row's first token" : $"as it does not follow {previous}")}, and documents start at {start}; correct the ids or pass their start", parameter);
                offsets.Add(i);
            }
            previous = position;
            if (++column == sequenceLength) column = 0;
        }
        offsets.Add(positions.Length);
        return new([.. offsets]);
    }

    private static void RequireRows(int elements, int batch, int sequenceLength, string parameter)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(batch);
        ArgumentOutOfRangeException.ThrowIfNegative(sequenceLength);
        if (elements != (long)batch * sequenceLength)
            throw new ArgumentException($"{parameter} has {elements} elements, and {batch} rows of {sequenceLength} have {(long)batch * sequenceLength}; pass every row whole", parameter);
    }
}
