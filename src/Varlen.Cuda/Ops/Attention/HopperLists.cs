using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Memory;
using Varlen.Ops;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>
/// Which kernels of compute capability 9.0 a sequence runs on: a function of its own lengths and the head dim alone, so that its bits do not depend
/// on the batch. The lengths between are measured; docs/kernels.md has the table.
/// </summary>
internal static class HopperChoice
{
    /// <summary>Sequences up to this length are left to the portable kernels, whose warps take 16 rows each.</summary>
    public const int LongestShort = 32;

    /// <summary>Queries from which three warpgroups share keys and values, at head dim 64.</summary>
    public const int FewestTall = 2048;

    public static bool IsShort(AttentionSpan span) => Math.Max(span.Queries, span.Keys) <= LongestShort;

    /// <summary>Warpgroups of a forward tile, each with 64 queries.</summary>
    public static int Groups(int headDim, int queries) => headDim == 128 ? 2 : queries < FewestTall ? 1 : 3;

    /// <summary>Queries of a step of the backward pass.</summary>
    public static int BackwardQueries(int headDim) => headDim == 64 ? 128 : 64;
}

/// <summary>Tiles of the sequences of one pair of layouts that the kernels of compute capability 9.0 take, made and sent when first asked for.</summary>
internal sealed class HopperLists(CudaBackend backend, AttentionCall call, int headDim, AttentionSpan[] sequences) : IDisposable
{
    public const int Keys = 128;

    private readonly SentMemory _memory = new(backend);
    private (int Groups, nint Tiles, int Count)[]? _forward;
    private (nint Tiles, int Count, nint Sequences, nint BlockSequence, int Blocks)? _backward;

    public int LongestQuery { get; } = sequences.Length == 0 ? 0 : sequences.Max(s => s.Queries);

    public int LongestKey { get; } = sequences.Length == 0 ? 0 : sequences.Max(s => s.Keys);

    /// <summary>Tile lists of the forward pass, one for each number of warpgroups in use.</summary>
    public (int Groups, nint Tiles, int Count)[] Forward => _forward ??=
    [
        .. sequences.GroupBy(s => HopperChoice.Groups(headDim, s.Queries)).OrderByDescending(group => group.Key).Select(group =>
        {
            HopperTile[] tiles = HopperTiles.Cut(group.Select(s => (s, 0)), 64 * group.Key, Keys, ofKeys: false, call.Options.Window, call.Options.Alignment);
            return (group.Key, _memory.Send<HopperTile>(tiles), tiles.Length);
        }),
    ];

    /// <summary>Key tiles, sequences and blocks of padded rows of the backward pass.</summary>
    public (nint Tiles, int Count, nint Sequences, nint BlockSequence, int Blocks) Backward => _backward ??= MakeBackward();

    public void Dispose() => _memory.Dispose();

    private (nint, int, nint, nint, int) MakeBackward()
    {
        int rows = HopperChoice.BackwardQueries(headDim), padded = 0;
        List<HopperSequence> places = [];
        List<(AttentionSpan, int)> starts = [];
        List<int> blocks = [];
        foreach (AttentionSpan s in sequences)
        {
            for (int first = 0; first < s.Queries; first += rows) blocks.Add(places.Count);
            starts.Add((s, padded));
            places.Add(new HopperSequence { QueryStart = (int)s.QueryStart, Queries = s.Queries, PaddedStart = padded });
            padded = checked(padded + (s.Queries + rows - 1) / rows * rows);
        }
        HopperTile[] tiles = HopperTiles.Cut(starts, Keys, rows, ofKeys: true, call.Options.Window, call.Options.Alignment);
        return (_memory.Send<HopperTile>(tiles), tiles.Length, _memory.Send<HopperSequence>(CollectionsMarshal.AsSpan(places)), _memory.Send<int>(CollectionsMarshal.AsSpan(blocks)), blocks.Count);
    }
}
