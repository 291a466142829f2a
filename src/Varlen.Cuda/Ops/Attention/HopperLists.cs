using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Memory;
using Varlen.Ops;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>Tiles of the sequences of one pair of layouts that the kernels of compute capability 9.0 take, made and sent when first asked for.</summary>
internal sealed class HopperLists(CudaBackend backend, AttentionCall call, int headDim, AttentionSpan[] sequences) : IDisposable
{
    public const int Keys = 128;

    private readonly List<Tensor> _memory = [];
    private (int Groups, nint Tiles, int Count)[]? _forward;
    private (nint Tiles, int Count, nint Sequences, nint BlockSequence, int Blocks)? _backward;

    public int LongestQuery { get; } = sequences.Length == 0 ? 0 : sequences.Max(s => s.Queries);

    public int LongestKey { get; } = sequences.Length == 0 ? 0 : sequences.Max(s => s.Keys);

    /// <summary>Tile lists of the forward pass, one for each number of warpgroups in use.</summary>
    public (int Groups, nint Tiles, int Count)[] Forward => _forward ??=
    [
        .. sequences.GroupBy(s => AttentionChoice.Groups(headDim, s.Queries)).OrderByDescending(group => group.Key).Select(group =>
        {
            HopperTile[] tiles = HopperTiles.Cut(group.Select(s => (s, 0)), 64 * group.Key, Keys, ofKeys: false, call.Options.Window, call.Options.Alignment);
            return (group.Key, Send<HopperTile>(tiles), tiles.Length);
        }),
    ];

    /// <summary>Key tiles, sequences and blocks of padded rows of the backward pass.</summary>
    public (nint Tiles, int Count, nint Sequences, nint BlockSequence, int Blocks) Backward => _backward ??= MakeBackward();

    public void Dispose()
    {
        foreach (Tensor tensor in _memory) tensor.Dispose();
    }

    private (nint, int, nint, nint, int) MakeBackward()
    {
        int rows = AttentionChoice.BackwardQueries(headDim), padded = 0;
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
        return (Send<HopperTile>(tiles), tiles.Length, Send(CollectionsMarshal.AsSpan(places)), Send(CollectionsMarshal.AsSpan(blocks)), blocks.Count);
    }

    private nint Send<T>(ReadOnlySpan<T> values) where T : unmanaged
    {
        if (values.IsEmpty) return 0;
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(values);
        Tensor memory = Tensor.AllocateUntracked([(bytes.Length + sizeof(int) - 1) / sizeof(int)], DType.Int32, backend.Device);
        _memory.Add(memory);
        backend.CopyFromHost(bytes, memory.Pointer);
        return memory.Pointer;
    }
}
