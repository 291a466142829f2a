using Varlen.Data;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>Sizes of lists that hold the tiles of any batch of a slot: the grids of a graph, which stay while its batches change.</summary>
/// <param name="Tokens">Most tokens of the queries, and of the keys.</param>
/// <param name="Sequences">Most sequences of a batch.</param>
/// <param name="Longest">Most tokens of a sequence.</param>
/// <param name="IsSelf">Whether a sequence has as many keys as queries.</param>
/// <param name="Shortest">Fewest tokens of a sequence that counts.</param>
internal readonly record struct ListLimits(int Tokens, int Sequences, int Longest, bool IsSelf = true, int Shortest = 1)
{
    public static ListLimits Of(LayoutSlot slot) => new(slot.Limits.Tokens, slot.Limits.Sequences, slot.Longest, slot.IsSelf);

    /// <summary>The same batches' sequences of a range of lengths.</summary>
    public ListLimits Within((int Shortest, int Longest) lengths) => this with { Shortest = Math.Max(Shortest, lengths.Shortest), Longest = Math.Min(Longest, lengths.Longest) };

    /// <summary>Most sequences of which the longer side has at least a length.</summary>
    public int SequencesFrom(int length)
    {
        length = Math.Max(length, Shortest);
        return Longest < length ? 0 : (int)Math.Min(Sequences, (IsSelf ? 1L : 2L) * Tokens / length);
    }

    /// <summary>Most tiles of a number of rows into which sequences of at least a length are cut.</summary>
    public int Tiles(int rows, int fromLength = 1)
    {
        int sequences = SequencesFrom(fromLength);
        return sequences == 0 ? 0 : (int)((Tokens + ((long)sequences * (rows - 1))) / rows);
    }
}
