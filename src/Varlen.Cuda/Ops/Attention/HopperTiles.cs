using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Memory;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>Rows of one sequence that a block takes, queries in the forward pass and keys in the backward pass; the twin of <c>Tile</c> in hopper_tiles.cuh.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HopperTile
{
    public int KeyEnd, Keys, QueryEnd, Queries, First, Shift, PaddedStart, BlockBegin, BlockEnd, GroupFirst, GroupCount, Padding;
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
    /// <param name="spans">The sequences, each with its first row in the workspace of the backward pass.</param>
    /// <param name="rows">Rows of a tile.</param>
    /// <param name="block">Rows of the other side that a block meets at a time.</param>
    /// <param name="ofKeys">Whether tiles are of keys.</param>
    /// <param name="window">The call's window.</param>
    /// <param name="alignment">The call's alignment.</param>
    public static HopperTile[] Cut(IEnumerable<(AttentionSpan Span, int PaddedStart)> spans, int rows, int block, bool ofKeys, AttentionWindow window, AttentionAlignment alignment)
    {
        List<HopperTile> tiles = [];
        // Seen from a key, the window is the other way round.
        AttentionWindow seen = ofKeys ? new(window.Right, window.Left) : window;
        foreach ((AttentionSpan s, int paddedStart) in spans.OrderByDescending(entry => (long)entry.Span.Queries * entry.Span.Keys))
        {
            (int length, int others) = ofKeys ? (s.Keys, s.Queries) : (s.Queries, s.Keys);
            int shift = alignment == AttentionAlignment.BottomRight ? s.Keys - s.Queries : 0, towards = ofKeys ? -shift : shift, start = tiles.Count;
            for (int first = 0; first < length; first += rows)
            {
                int begin = seen.Range(first, towards, others).First, end = seen.Range(Math.Min(first + rows, length) - 1, towards, others).End;
                tiles.Add(new HopperTile
                {
                    KeyEnd = (int)s.KeyStart + s.Keys, Keys = s.Keys, QueryEnd = (int)s.QueryStart + s.Queries, Queries = s.Queries, First = first, Shift = shift, PaddedStart = paddedStart,
                    BlockBegin = end <= begin ? 0 : begin / block, BlockEnd = end <= begin ? 0 : (end + block - 1) / block,
                });
            }
            Span<HopperTile> group = CollectionsMarshal.AsSpan(tiles)[start..];
            group.Sort((a, b) => (b.BlockEnd - b.BlockBegin, a.First).CompareTo((a.BlockEnd - a.BlockBegin, b.First)));
            foreach (ref HopperTile tile in group) (tile.GroupFirst, tile.GroupCount) = (start, group.Length);
        }
        return [.. tiles];
    }

    /// <summary>Sends tiles, and fills what is left of their list with tiles of no sequence, each of a group of its own.</summary>
    public static void Send(ReadOnlySpan<HopperTile> tiles, DeviceList<HopperTile> list)
    {
        tiles.CopyTo(list.Values);
        for (int i = tiles.Length; i < list.Values.Length; i++) list.Values[i] = new HopperTile { GroupFirst = i, GroupCount = 1 };
        list.Send();
    }
}
