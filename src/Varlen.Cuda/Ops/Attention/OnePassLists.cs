using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Memory;
using Varlen.Ops;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>Tiles of the sequences whose gradients one pass over the scores computes.</summary>
internal sealed class OnePassLists : IDisposable
{
    /// <summary>Rows of a tile.</summary>
    public const int QueryRows = 64, KeyRows = 128;

    private readonly AttentionCall _call;
    private readonly DeviceList<GroupedTile> _queries, _keys;

    /// <param name="backend">The device.</param>
    /// <param name="call">A call that they are for.</param>
    /// <param name="sequences">The sequences.</param>
    /// <param name="limits">Limits of the batches of a slot; null for these sequences alone.</param>
    public OnePassLists(CudaBackend backend, AttentionCall call, AttentionSpan[] sequences, ListLimits? limits)
    {
        _call = call;
        _queries = new DeviceList<GroupedTile>(backend, limits?.Tiles(QueryRows) ?? sequences.Sum(s => Count(s.Queries, QueryRows)));
        _keys = new DeviceList<GroupedTile>(backend, limits?.Tiles(KeyRows) ?? sequences.Sum(s => Count(s.Keys, KeyRows)));
        Refill(sequences);
    }

    public (nint Tiles, int Count) Queries => (_queries.Pointer, _queries.Values.Length);

    public (nint Tiles, int Count) Keys => (_keys.Pointer, _keys.Values.Length);

    /// <summary>Shared memory of a block: keys and values, two slots of queries and of the output's gradient, the products' gradient, two slots of two numbers a query.</summary>
    public static int SharedBytes(int headDim) => (((2 * KeyRows) + (4 * QueryRows)) * headDim * 2) + (KeyRows * QueryRows * 2) + (2 * QueryRows * 2 * sizeof(float));

    /// <summary>Puts other sequences into the lists of a slot.</summary>
    public void Refill(AttentionSpan[] sequences)
    {
        // Sequences with most work first, and of each the tiles with most: short work fills the end.
        AttentionSpan[] sorted = [.. sequences.OrderByDescending(s => (long)s.Queries * s.Keys)];
        Fill(_queries, sorted, QueryRows, ofKeys: false);
        Fill(_keys, sorted, KeyRows, ofKeys: true);
    }

    public void Dispose()
    {
        _queries.Dispose();
        _keys.Dispose();
    }

    private static int Count(int length, int rows) => (length + rows - 1) / rows;

    private void Fill(DeviceList<GroupedTile> list, AttentionSpan[] sequences, int rows, bool ofKeys)
    {
        AttentionWindow window = _call.Options.Window;
        if (ofKeys) window = new(window.Right, window.Left);
        int count = 0;
        foreach (AttentionSpan s in sequences)
        {
            (int length, int others) = ofKeys ? (s.Keys, s.Queries) : (s.Queries, s.Keys);
            int shift = _call.Options.Alignment == AttentionAlignment.BottomRight ? others - length : 0, start = count;
            for (int first = 0; first < length; first += rows)
                list.Values[count++] = new GroupedTile
                {
                    Tile = new AttentionTile
                    {
                        QueryStart = s.QueryStart, KeyStart = s.KeyStart, Document = s.Document, Queries = s.Queries, Keys = s.Keys, First = first, Rows = Math.Min(rows, length - first), Sequence = s.Index,
                    },
                    GroupFirst = start, GroupCount = Count(length, rows),
                };
            list.Values.AsSpan(start..count).Sort((a, b) => (Seen(b), a.Tile.First).CompareTo((Seen(a), b.Tile.First)));

            int Seen(in GroupedTile tile) => window.Range(tile.Tile.First + tile.Tile.Rows - 1, shift, others).End - window.Range(tile.Tile.First, shift, others).First;
        }
        // The rest of a slot's list is of no sequence.
        for (; count < list.Values.Length; count++) list.Values[count] = new GroupedTile { GroupFirst = count, GroupCount = 1 };
        list.Send();
    }
}
