using Varlen.Data;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>Sizes of lists that hold the tiles of any batch of a slot: the grids of a graph, which stay while its batches change.</summary>
/// <param name="Tokens">Most tokens of a batch.</param>
/// <param name="Sequences">Most sequences of a batch.</param>
/// <param name="Longest">Most tokens of a sequence.</param>
/// <param name="Shortest">Fewest tokens of a sequence that counts.</param>
internal readonly record struct ListLimits(int Tokens, int Sequences, int Longest, int Shortest = 1)
{
    public static ListLimits Of(LayoutSlot slot) => new(slot.Limits.Tokens, slot.Limits.Sequences, slot.Longest);

    /// <summary>The same batches' sequences of a range of lengths.</summary>
    public ListLimits Within((int Shortest, int Longest) lengths) => this with { Shortest = Math.Max(Shortest, lengths.Shortest), Longest = Math.Min(Longest, lengths.Longest) };

    /// <summary>Most sequences of at least a length.</summary>
    public int SequencesFrom(int length) => Longest < Math.Max(length, Shortest) ? 0 : Math.Min(Sequences, Tokens / Math.Max(length, Shortest));

    /// <summary>Most tiles of a number of rows into which sequences of at least a length are cut.</summary>
    public int Tiles(int rows, int fromLength = 1)
    {
        int sequences = SequencesFrom(fromLength);
        return sequences == 0 ? 0 : (int)((Tokens + ((long)sequences * (rows - 1))) / rows);
    }
}
