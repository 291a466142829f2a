using Varlen.Backends.Cuda.Memory;
using Varlen.Ops;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>Tiles of the sequences of one pair of layouts that the kernels of compute capability 9.0 take, made and sent when first asked for.</summary>
/// <param name="backend">The device.</param>
/// <param name="call">A call that they are for.</param>
/// <param name="headDim">Its head dim.</param>
/// <param name="sequences">The sequences.</param>
/// <param name="limits">Limits of the batches of a slot; null for these sequences alone.</param>
internal sealed class HopperLists(CudaBackend backend, AttentionCall call, int headDim, AttentionSpan[] sequences, ListLimits? limits = null) : IDisposable
{
    public const int Keys = 128;

    private AttentionSpan[] _sequences = sequences;
    private (int Groups, DeviceList<HopperTile> Tiles)[]? _forward;
    private (DeviceList<HopperTile> Tiles, DeviceList<HopperSequence> Sequences, DeviceList<int> Blocks)? _backward;

    public int LongestQuery { get; } = limits?.Longest ?? sequences.Select(s => s.Queries).DefaultIfEmpty().Max();

    public int LongestKey { get; } = limits?.Longest ?? sequences.Select(s => s.Keys).DefaultIfEmpty().Max();

    /// <summary>Tile lists of the forward pass, one for each number of warpgroups in use, and how many tiles they have room for.</summary>
    public IEnumerable<(int Groups, nint List, int Count)> Forward => (_forward ??= MakeForward()).Select(list => (list.Groups, list.Tiles.Pointer, list.Tiles.Values.Length - 1));

    /// <summary>Key tiles, sequences and blocks of padded rows of the backward pass.</summary>
    public (nint Tiles, int Count, nint Sequences, nint BlockSequence, int Blocks) Backward
    {
        get
        {
            (DeviceList<HopperTile> tiles, DeviceList<HopperSequence> places, DeviceList<int> blocks) = _backward ??= MakeBackward();
            return (tiles.Pointer, tiles.Values.Length, places.Pointer, blocks.Pointer, blocks.Values.Length);
        }
    }

    private int QueryRows => AttentionChoice.BackwardQueries(headDim);

    /// <summary>Puts other sequences into the lists of a slot.</summary>
    public void Refill(AttentionSpan[] sequences)
    {
        _sequences = sequences;
        foreach ((int groups, DeviceList<HopperTile> tiles) in _forward ?? []) SendForward(ForwardTiles(groups), tiles);
        if (_backward is { } backward) FillBackward(backward.Tiles, backward.Sequences, backward.Blocks, BackwardTiles());
    }

    public void Dispose()
    {
        foreach ((_, DeviceList<HopperTile> tiles) in _forward ?? []) tiles.Dispose();
        if (_backward is not { } backward) return;
        backward.Tiles.Dispose();
        backward.Sequences.Dispose();
        backward.Blocks.Dispose();
    }

    private (int, DeviceList<HopperTile>)[] MakeForward()
    {
        // Numbers of warpgroups grow with the length.
        IEnumerable<int> numbers = limits is { } most ? new[] { most.Shortest, most.Longest }.Select(length => AttentionChoice.Groups(headDim, length)) : _sequences.Select(s => AttentionChoice.Groups(headDim, s.Queries));
        return
        [
            .. numbers.Distinct().OrderDescending().Select(groups =>
            {
                HopperTile[] tiles = ForwardTiles(groups);
                var list = new DeviceList<HopperTile>(backend, 1 + (limits?.Tiles(64 * groups, groups == 3 ? AttentionChoice.FewestTall : 1) ?? tiles.Length));
                SendForward(tiles, list);
                return (groups, list);
            }),
        ];
    }

    // In front of the tiles lies how many there are, and the counter from which blocks draw: the twin of TileList in hopper_forward.cu.
    private static void SendForward(HopperTile[] tiles, DeviceList<HopperTile> list)
    {
        list.Values.AsSpan().Clear();
        list.Values[0].KeyEnd = tiles.Length;
        tiles.CopyTo(list.Values, 1);
        list.Send();
    }

    private HopperTile[] ForwardTiles(int groups)
        => HopperTiles.Cut(_sequences.Where(s => AttentionChoice.Groups(headDim, s.Queries) == groups).Select(s => (s, 0)), 64 * groups, Keys, ofKeys: false, call.Options.Window, call.Options.Alignment);

    private (DeviceList<HopperTile>, DeviceList<HopperSequence>, DeviceList<int>) MakeBackward()
    {
        (HopperTile[] Tiles, HopperSequence[] Places, int[] Blocks) made = BackwardTiles();
        var lists = (new DeviceList<HopperTile>(backend, limits?.Tiles(Keys) ?? made.Tiles.Length), new DeviceList<HopperSequence>(backend, limits?.SequencesFrom(1) ?? made.Places.Length),
            new DeviceList<int>(backend, limits?.Tiles(QueryRows) ?? made.Blocks.Length));
        FillBackward(lists.Item1, lists.Item2, lists.Item3, made);
        return lists;
    }

    private static void FillBackward(DeviceList<HopperTile> tiles, DeviceList<HopperSequence> places, DeviceList<int> blocks, (HopperTile[] Tiles, HopperSequence[] Places, int[] Blocks) made)
    {
        HopperTiles.Send(made.Tiles, tiles);
        made.Places.CopyTo(places.Values, 0);
        places.Send();
        made.Blocks.CopyTo(blocks.Values, 0);
        // Blocks of no sequence.
        blocks.Values.AsSpan(made.Blocks.Length).Fill(-1);
        blocks.Send();
    }

    private (HopperTile[] Tiles, HopperSequence[] Places, int[] Blocks) BackwardTiles()
    {
        int rows = QueryRows, padded = 0;
        List<HopperSequence> places = [];
        List<(AttentionSpan, int)> starts = [];
        List<int> blocks = [];
        foreach (AttentionSpan s in _sequences)
        {
            for (int first = 0; first < s.Queries; first += rows) blocks.Add(places.Count);
            starts.Add((s, padded));
            places.Add(new HopperSequence { QueryStart = (int)s.QueryStart, Queries = s.Queries, PaddedStart = padded });
            padded = checked(padded + (s.Queries + rows - 1) / rows * rows);
        }
        return (HopperTiles.Cut(starts, Keys, rows, ofKeys: true, call.Options.Window, call.Options.Alignment), [.. places], [.. blocks]);
    }
}
