using System.Runtime.InteropServices;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>Rows of one sequence that a block, or a part of one, takes; the twin of <c>Tile</c> in attention.cuh.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AttentionTile
{
    public long QueryStart, KeyStart;
    public ulong Document;
    public int Batch;
    public int First, Rows;
    public int Queries, Keys;
    public int Sequence;
}

/// <summary>One sequence of a call.</summary>
internal readonly record struct AttentionSpan(int Batch, long QueryStart, long KeyStart, int Queries, int Keys, ulong Document, int Index = 0);

/// <summary>
/// Cuts sequences into tiles. Where a tile lies in its sequence, and which kernel's path it takes, depends on the sequence's own lengths
/// alone; the batch decides only the order in which tiles start: those with most work first, so that none is left over at the end.
/// </summary>
internal sealed class AttentionTiles
{
    // Sequences that one warp takes, or two.
    private const int LongestSingle = 16, LongestPair = 32;

    private readonly List<AttentionTile> _whole = [], _pairs = [], _singles = [];
    private readonly List<long> _work = [];

    public int Whole => _whole.Count;
    public int Pairs => _pairs.Count;
    public int Singles => _singles.Count;

    /// <summary>Writes whole tiles, then sequences for two warps, then for one, each to its part of a list; what is left of a part has no rows.</summary>
    public void CopyTo(Span<AttentionTile> tiles, in AttentionList list)
    {
        AttentionTile[] whole = [.. _whole];
        // The index keeps equal ones in order: tiles of one sequence start together and find its keys in the cache.
        long[] order = [.. _work.Select((work, i) => -(work << 32) | (uint)i)];
        Array.Sort(order, whole);
        tiles.Clear();
        whole.CopyTo(tiles[..list.Whole]);
        _pairs.CopyTo(tiles.Slice(list.Whole, list.Pairs));
        _singles.CopyTo(tiles.Slice(list.Whole + list.Pairs, list.Singles));
    }

    /// <summary>Tiles of queries, or of keys.</summary>
    public static AttentionTiles Cut(IEnumerable<AttentionSpan> sequences, AttentionShape shape, int rows, bool ofKeys, AttentionWindow window, AttentionAlignment alignment)
    {
        var tiles = new AttentionTiles();
        foreach (AttentionSpan s in sequences) tiles.Add(s, shape, rows, ofKeys, window, alignment);
        return tiles;
    }

    /// <summary>Sizes of a list for tiles of any batch within limits.</summary>
    public static AttentionList Most(in ListLimits limits, AttentionShape shape, int rows)
    {
        bool pairs = shape.Warps > 2;
        return new AttentionList
        {
            Whole = limits.Tiles(rows, fromLength: (pairs ? LongestPair : LongestSingle) + 1),
            Pairs = pairs && limits.Shortest <= LongestPair ? limits.SequencesFrom(LongestSingle + 1) : 0, Singles = limits.Shortest <= LongestSingle ? limits.SequencesFrom(1) : 0,
        };
    }

    private void Add(AttentionSpan s, AttentionShape shape, int rows, bool ofKeys, AttentionWindow window, AttentionAlignment alignment)
    {
        int length = ofKeys ? s.Keys : s.Queries, longest = Math.Max(s.Queries, s.Keys);
        if (length == 0) return;
        var tile = new AttentionTile { Batch = s.Batch, QueryStart = s.QueryStart, KeyStart = s.KeyStart, Document = s.Document, Queries = s.Queries, Keys = s.Keys, Rows = length, Sequence = s.Index };
        if (longest <= LongestSingle) _singles.Add(tile);
        else if (longest <= LongestPair && shape.Warps > 2) _pairs.Add(tile);
        else
        {
            int shift = alignment == AttentionAlignment.BottomRight ? s.Keys - s.Queries : 0;
            AttentionWindow seen = ofKeys ? new(window.Right, window.Left) : window;
            for (int first = 0; first < length; first += rows)
            {
                tile.First = first;
                tile.Rows = Math.Min(rows, length - first);
                int begin = seen.Range(first, ofKeys ? -shift : shift, s.Queries + s.Keys - length).First;
                int end = seen.Range(first + tile.Rows - 1, ofKeys ? -shift : shift, s.Queries + s.Keys - length).End;
                _whole.Add(tile);
                // Half a tile takes about half the time.
                _work.Add(Math.Max(0, end - begin) * (tile.Rows > shape.Rows ? 2L : 1));
            }
        }
    }
}
