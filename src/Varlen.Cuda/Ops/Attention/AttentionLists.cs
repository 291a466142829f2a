using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Varlen.Ops;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>A list of tiles on the device; the twin of <c>TileList</c> in attention.cuh.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AttentionList
{
    public nint Tiles;
    public int Whole, Pairs, Singles;
    public int Unused;

    /// <summary>Blocks that a kernel takes for it: one for a tile and head, and small sequences share one.</summary>
    public readonly long Blocks(int heads, int warps)
    {
        long pairs = (long)Pairs * heads, singles = (long)Singles * heads;
        return ((long)Whole * heads) + ((pairs + (warps / 2) - 1) / (warps / 2)) + ((singles + warps - 1) / warps);
    }
}

/// <summary>
/// The tile lists of one pair of layouts, made and sent when first asked for: by every layer of a model and by both passes. A query layout
/// keeps its lists until it is disposed.
/// </summary>
internal sealed class AttentionLists : IDisposable
{
    private readonly CudaBackend _backend;
    private readonly AttentionCall _call;
    private readonly AttentionShape _shape;
    private readonly AttentionSpan[] _portable;
    private readonly List<Tensor> _memory = [];
    private AttentionList? _forward, _queries, _keys;

    private AttentionLists(CudaBackend backend, AttentionCall call, AttentionShape shape, AttentionSpan[] sequences, AttentionFamilies allowed)
    {
        (_backend, _call, _shape) = (backend, call, shape);
        _portable = Of(AttentionFamilies.Portable);
        if (Array.FindAll(Of(AttentionFamilies.Short), s => s.Queries + s.Keys > 0) is { Length: > 0 } inOneBlock) Short = new ShortList(backend, inOneBlock);
        if (Of(AttentionFamilies.Hopper) is { Length: > 0 } longer) Hopper = new HopperLists(backend, call, shape.Bucket, longer);

        AttentionSpan[] Of(AttentionFamilies family) => Array.FindAll(sequences, s => AttentionChoice.Of(s, allowed) == family);
    }

    /// <summary>Sequences that one block holds whole, and the other lists leave out; null when there are none.</summary>
    public ShortList? Short { get; }

    /// <summary>Sequences that the kernels of compute capability 9.0 take, and the other lists leave out; null when there are none.</summary>
    public HopperLists? Hopper { get; }

    /// <summary>Queries, in tiles of the forward pass.</summary>
    public AttentionList Forward => _forward ??= Send(_shape.Rows * _shape.Slabs, ofKeys: false);

    /// <summary>Queries, in tiles of the backward pass.</summary>
    public AttentionList Queries => _queries ??= _shape.Slabs == 1 ? Forward : Send(_shape.Rows, ofKeys: false);

    public AttentionList Keys => _keys ??= Send(_shape.Rows, ofKeys: true);

    /// <summary>The lists of a call: kept by the query layout where the call's layouts say all, else made for this call.</summary>
    /// <param name="backend">The device.</param>
    /// <param name="call">The call.</param>
    /// <param name="shape">Tile sizes of the portable kernels.</param>
    /// <param name="query">The call's queries.</param>
    /// <param name="key">The call's keys.</param>
    /// <param name="allowed">Families that can take the call.</param>
    /// <returns>The lists, and whether the caller has to dispose them.</returns>
    public static (AttentionLists Lists, bool IsOwn) Of(CudaBackend backend, AttentionCall call, AttentionShape shape, Tensor query, Tensor key, AttentionFamilies allowed)
    {
        if (call is { Query: { } queries, Key: { } keys, KeyStarts: null })
        {
            var identity = new Identity(backend, keys, call.Options.Window, call.Options.Alignment, shape, allowed);
            if (queries.Attached(identity, () => new AttentionLists(backend, call, shape, Spans(call, query, key), allowed)) is { } kept) return (kept, false);
        }
        return (new AttentionLists(backend, call, shape, Spans(call, query, key), allowed), true);
    }

    public void Dispose()
    {
        // Stream-ordered: kernels that were launched before read them to the end.
        foreach (Tensor tensor in _memory) tensor.Dispose();
        Short?.Dispose();
        Hopper?.Dispose();
    }

    private AttentionList Send(int rows, bool ofKeys)
    {
        AttentionTiles tiles = AttentionTiles.Cut(_portable, _shape, rows, ofKeys, _call.Options.Window, _call.Options.Alignment);
        AttentionTile[] array = tiles.ToArray();
        var list = new AttentionList { Whole = tiles.Whole, Pairs = tiles.Pairs, Singles = tiles.Singles };
        if (array.Length == 0) return list;
        ReadOnlySpan<long> words = MemoryMarshal.Cast<AttentionTile, long>(array);
        Tensor memory = Tensor.AllocateUntracked([words.Length], DType.Int64, _backend.Device);
        _memory.Add(memory);
        _backend.CopyFromHost(MemoryMarshal.AsBytes(words), memory.Pointer);
        list.Tiles = memory.Pointer;
        return list;
    }

    private static AttentionSpan[] Spans(AttentionCall call, Tensor query, Tensor key)
    {
        var spans = new AttentionSpan[call.Query?.Count ?? query.Shape[0]];
        for (int i = 0; i < spans.Length; i++)
            spans[i] = call is { Query: { } queries, Key: { } keys }
                ? new AttentionSpan(0, queries.Offsets[i], call.KeyStarts?[i] ?? keys.Offsets[i], queries.Lengths[i], keys.Lengths[i], queries.DocumentKeys[i])
                : new AttentionSpan(i, 0, 0, query.Shape[2], key.Shape[2], (ulong)i);
        return spans;
    }

    // Layouts compare by all their lengths; here the same object is meant.
    private sealed record Identity(CudaBackend Backend, SequenceLayout Keys, AttentionWindow Window, AttentionAlignment Alignment, AttentionShape Shape, AttentionFamilies Allowed)
    {
        public bool Equals(Identity? other) => other is not null && ReferenceEquals(Backend, other.Backend) && ReferenceEquals(Keys, other.Keys)
            && Window == other.Window && Alignment == other.Alignment && Shape == other.Shape && Allowed == other.Allowed;

        public override int GetHashCode() => HashCode.Combine(RuntimeHelpers.GetHashCode(Keys), Window, Alignment, Shape, Allowed);
    }
}
