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
    private readonly AttentionCall _call;
    private readonly AttentionShape _shape;
    private readonly AttentionSpan[] _portable;
    private readonly SentMemory _memory;
    private AttentionList? _forward, _queries, _keys;
    private nint? _pages;

    private AttentionLists(CudaBackend backend, AttentionCall call, AttentionShape shape, AttentionSpan[] sequences, bool hopper)
    {
        (_call, _shape, _memory) = (call, shape, new SentMemory(backend));
        if (call.IsCached && Array.FindAll(sequences, DecodeParts.Takes) is { Length: > 0 } few)
        {
            Decode = new DecodeParts(backend, call, few);
            sequences = Array.FindAll(sequences, s => !DecodeParts.Takes(s));
        }
        _portable = hopper ? Array.FindAll(sequences, HopperChoice.IsShort) : sequences;
        if (_portable.Length < sequences.Length) Hopper = new HopperLists(backend, call, shape.Bucket, Array.FindAll(sequences, s => !HopperChoice.IsShort(s)));
    }

    /// <summary>Sequences that the kernels of compute capability 9.0 take, and the other lists leave out; null when there are none.</summary>
    public HopperLists? Hopper { get; }

    /// <summary>Sequences with few queries over a cache, which the other lists leave out; null when there are none.</summary>
    public DecodeParts? Decode { get; }

    /// <summary>The page table, or 0 when keys lie in one piece.</summary>
    public nint Pages => _call.Table is null ? 0 : _pages ??= _memory.Send(_call.Table.Table);

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
    /// <param name="hopper">Whether longer sequences go to the kernels of compute capability 9.0.</param>
    /// <returns>The lists, and whether the caller has to dispose them.</returns>
    public static (AttentionLists Lists, bool IsOwn) Of(CudaBackend backend, AttentionCall call, AttentionShape shape, Tensor query, Tensor key, bool hopper)
    {
        if (call is { Query: { } queries, Key: { } keys } && (call.KeyStarts is null || call.Pages is not null))
        {
            var identity = new Identity(backend, keys, call.Options.Window, call.Options.Alignment, shape, hopper, call.PageSize);
            if (queries.Attached(identity, () => new AttentionLists(backend, call, shape, Spans(call, query, key), hopper)) is { } kept) return (kept, false);
        }
        return (new AttentionLists(backend, call, shape, Spans(call, query, key), hopper), true);
    }

    public void Dispose()
    {
        _memory.Dispose();
        Hopper?.Dispose();
        Decode?.Dispose();
    }

    private AttentionList Send(int rows, bool ofKeys)
    {
        AttentionTiles tiles = AttentionTiles.Cut(_portable, _shape, rows, ofKeys, _call.Options.Window, _call.Options.Alignment);
        return new AttentionList { Tiles = _memory.Send<AttentionTile>(tiles.ToArray()), Whole = tiles.Whole, Pairs = tiles.Pairs, Singles = tiles.Singles };
    }

    private static AttentionSpan[] Spans(AttentionCall call, Tensor query, Tensor key)
    {
        var spans = new AttentionSpan[call.Query?.Count ?? query.Shape[0]];
        for (int i = 0; i < spans.Length; i++)
            spans[i] = call is { Query: { } queries, Key: { } keys }
                ? new AttentionSpan(0, queries.Offsets[i], call.Table is not null ? 0 : call.KeyStarts?[i] ?? keys.Offsets[i], queries.Lengths[i], keys.Lengths[i], queries.DocumentKeys[i], i)
                : new AttentionSpan(i, 0, 0, query.Shape[2], key.Shape[2], (ulong)i);
        return spans;
    }

    // Layouts compare by all their lengths; here the same object is meant.
    private sealed record Identity(CudaBackend Backend, SequenceLayout Keys, AttentionWindow Window, AttentionAlignment Alignment, AttentionShape Shape, bool Hopper, int PageSize)
    {
        public bool Equals(Identity? other) => other is not null && ReferenceEquals(Backend, other.Backend) && ReferenceEquals(Keys, other.Keys)
            && Window == other.Window && Alignment == other.Alignment && Shape == other.Shape && Hopper == other.Hopper && PageSize == other.PageSize;

        public override int GetHashCode() => HashCode.Combine(RuntimeHelpers.GetHashCode(Keys), Window, Alignment, Shape, Hopper);
    }
}
