using System.Runtime.InteropServices;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>Query rows of one sequence that a block takes; the twin of <c>Tile</c> in hopper_forward.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HopperQueryTile
{
    public int QueryEnd, Queries, First, KeyEnd, Keys, Shift, BlockBegin, BlockEnd, GroupFirst, GroupCount;
}

/// <summary>Keys of one sequence that a block takes; the twin of <c>KeyTile</c> in hopper_backward.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HopperKeyTile
{
    public int KeyEnd, Keys, First, QueryEnd, Queries, Shift, PaddedStart, BlockBegin, BlockEnd, GroupFirst, GroupCount, Padding;
}

/// <summary>Where a sequence's queries lie, packed and in the padded order of the workspace; the twin of <c>Sequence</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HopperSequence
{
    public int QueryStart, Queries, PaddedStart, Padding;
}

/// <summary>
/// Cuts sequences into tiles for the kernels of compute capability 9.0. Tiles of a sequence lie together, longest sequences first and in each the
/// tiles with most work: blocks that run at the same time share keys and values in the cache, and short work fills the end.
/// </summary>
internal static class HopperTiles
{
    public static HopperQueryTile[] OfQueries(IEnumerable<AttentionSpan> spans, int rows, int keys, AttentionWindow window, AttentionAlignment alignment)
    {
        List<HopperQueryTile> tiles = [];
        foreach (AttentionSpan s in spans.OrderByDescending(Work))
        {
            int shift = Shift(s, alignment), start = tiles.Count;
            for (int first = 0; first < s.Queries; first += rows)
            {
                int last = Math.Min(first + rows, s.Queries) - 1;
                (int begin, int end) = Blocks(window.Range(first, shift, s.Keys).First, window.Range(last, shift, s.Keys).End, keys);
                tiles.Add(new HopperQueryTile { QueryEnd = (int)s.QueryStart + s.Queries, Queries = s.Queries, First = first, KeyEnd = (int)s.KeyStart + s.Keys, Keys = s.Keys, Shift = shift, BlockBegin = begin, BlockEnd = end });
            }
            Span<HopperQueryTile> group = CollectionsMarshal.AsSpan(tiles)[start..];
            group.Sort((a, b) => (b.BlockEnd - b.BlockBegin, a.First).CompareTo((a.BlockEnd - a.BlockBegin, b.First)));
            foreach (ref HopperQueryTile tile in group) (tile.GroupFirst, tile.GroupCount) = (start, group.Length);
        }
        return [.. tiles];
    }

    public static HopperKeyTile[] OfKeys(IEnumerable<(AttentionSpan Span, int PaddedStart)> spans, int rows, int queries, AttentionWindow window, AttentionAlignment alignment)
    {
        List<HopperKeyTile> tiles = [];
        // Seen from a key, the window is the other way round.
        var seen = new AttentionWindow(window.Right, window.Left);
        foreach ((AttentionSpan s, int paddedStart) in spans.OrderByDescending(entry => Work(entry.Span)))
        {
            int shift = Shift(s, alignment), start = tiles.Count;
            for (int first = 0; first < s.Keys; first += rows)
            {
                int last = Math.Min(first + rows, s.Keys) - 1;
                (int begin, int end) = Blocks(seen.Range(first, -shift, s.Queries).First, seen.Range(last, -shift, s.Queries).End, queries);
                tiles.Add(new HopperKeyTile
                {
                    KeyEnd = (int)s.KeyStart + s.Keys, Keys = s.Keys, First = first, QueryEnd = (int)s.QueryStart + s.Queries, Queries = s.Queries, Shift = shift, PaddedStart = paddedStart, BlockBegin = begin, BlockEnd = end,
                });
            }
            Span<HopperKeyTile> group = CollectionsMarshal.AsSpan(tiles)[start..];
            group.Sort((a, b) => (b.BlockEnd - b.BlockBegin, a.First).CompareTo((a.BlockEnd - a.BlockBegin, b.First)));
            foreach (ref HopperKeyTile tile in group) (tile.GroupFirst, tile.GroupCount) = (start, group.Length);
        }
        return [.. tiles];
    }

    private static long Work(AttentionSpan s) => (long)s.Queries * s.Keys;

    private static int Shift(AttentionSpan s, AttentionAlignment alignment) => alignment == AttentionAlignment.BottomRight ? s.Keys - s.Queries : 0;

    private static (int Begin, int End) Blocks(int first, int end, int block) => end <= first ? (0, 0) : (first / block, (end + block - 1) / block);
}
