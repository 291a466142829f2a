namespace Varlen;

public sealed partial class SequenceLayout
{
    /// <summary>
    /// A layout from a padding mask: the real tokens of each row, in row order, are one sequence; a row of padding alone is an empty one,
    /// so that sequence i is row i.
    /// </summary>
    /// <param name="mask">True for a real token, <c>[batch, sequenceLength]</c>, row after row.</param>
    /// <param name="batch">Number of rows.</param>
    /// <param name="sequenceLength">Columns of a row.</param>
    /// <param name="policy">Where padding may stand, and which positions tokens get beside it.</param>
    /// <returns>The layout, and where its tokens stand in the padded rows.</returns>
    /// <exception cref="ArgumentException">Padding stands before a real token and <paramref name="policy"/> does not say which positions follow, or the mask does not have batch * sequenceLength elements.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A size is negative, or the policy is not defined.</exception>
    public static (SequenceLayout Layout, PaddedIndices Indices) FromPaddingMask(ReadOnlySpan<bool> mask, int batch, int sequenceLength, PaddingPolicy policy = PaddingPolicy.RightOnly)
    {
        RequireRows(mask.Length, batch, sequenceLength, nameof(mask));
        if (!Enum.IsDefined(policy)) throw new ArgumentOutOfRangeException(nameof(policy), policy, "not a padding policy");
        var offsets = new int[batch + 1];
        var slots = new int[mask.Count(true)];
        var columns = new int[slots.Length];
        bool shifted = false;
        int token = 0;
        for (int row = 0; row < batch; row++)
        {
            for (int column = 0; column < sequenceLength; column++)
            {
                int slot = row * sequenceLength + column;
                if (!mask[slot]) continue;
                if (column != token - offsets[row])
                {
                    if (policy == PaddingPolicy.RightOnly)
                        throw new ArgumentException($"mask[{slot}] (row {row}, column {column}) is a real token after padding; programs disagree on its position, so pass PaddingPolicy.CountPositions or PaddingPolicy.ColumnPositions", nameof(mask));
                    shifted = true;
                }
                slots[token] = slot;
                columns[token++] = column;
            }
            offsets[row + 1] = token;
        }
        bool byColumn = shifted && policy == PaddingPolicy.ColumnPositions;
        return (new(offsets, positions: byColumn ? columns : null), new(batch, sequenceLength, slots));
    }
}
