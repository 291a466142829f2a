using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Memory;
using Varlen.Data;
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
/// keeps its lists until it is disposed; those of a slot have the sizes of its limits, and are sent again for each batch.
/// </summary>
internal sealed class AttentionLists : ILayoutMirror
{
    private readonly CudaBackend _backend;
    private readonly AttentionCall _call;
    private readonly AttentionShape _shape;
    private readonly ListLimits? _limits;
    private readonly AttentionFamilies _allowed;
    private AttentionSpan[] _portable;
    private List? _forward, _queries, _keys;
    private SentMemory? _pageMemory;
    private nint _pages;

    private AttentionLists(CudaBackend backend, AttentionCall call, AttentionShape shape, AttentionSpan[] sequences, AttentionFamilies allowed, ListLimits? limits = null)
    {
        (_backend, _call, _shape, _allowed, _limits) = (backend, call, shape, allowed, limits?.Within(AttentionChoice.Lengths(AttentionFamilies.Portable, allowed)));
        if (call.IsCached && Array.FindAll(sequences, DecodeParts.Takes) is { Length: > 0 } few)
        {
            Decode = new DecodeParts(backend, call, few);
            sequences = Array.FindAll(sequences, s => !DecodeParts.Takes(s));
        }
        _portable = Of(sequences, AttentionFamilies.Portable);
        // Those of a slot must have room for what other batches bring.
        AttentionSpan[] inOneBlock = Of(sequences, AttentionFamilies.Short), longer = Of(sequences, AttentionFamilies.Hopper);
        ListLimits? most = limits?.Within(AttentionChoice.Lengths(AttentionFamilies.Short, allowed));
        if ((most?.SequencesFrom(1) ?? inOneBlock.Length) > 0) Short = new ShortList(backend, inOneBlock, most);
        most = limits?.Within(AttentionChoice.Lengths(AttentionFamilies.Hopper, allowed));
        if ((most?.SequencesFrom(1) ?? longer.Length) > 0) Hopper = new HopperLists(backend, call, shape.Bucket, longer, most);
        AttentionSpan[] inOnePass = Of(sequences, AttentionFamilies.OnePass);
        most = limits?.Within(AttentionChoice.Lengths(AttentionFamilies.OnePass, allowed));
        if ((most?.SequencesFrom(1) ?? inOnePass.Length) > 0) OnePass = new OnePassLists(backend, call, inOnePass, most);
    }

    /// <summary>Sequences that one block holds whole, and the other lists leave out; null when there are none.</summary>
    public ShortList? Short { get; }

    /// <summary>Sequences that the kernels of compute capability 9.0 take, and the other lists leave out; null when there are none.</summary>
    public HopperLists? Hopper { get; }

    /// <summary>Sequences whose gradients one pass computes, and the other lists leave out; null when there are none.</summary>
    public OnePassLists? OnePass { get; }

    /// <summary>Sequences with few queries over a cache, which the other lists leave out; null when there are none.</summary>
    public DecodeParts? Decode { get; }

    /// <summary>The page table, sent when first asked for; 0 when keys lie in one piece.</summary>
    public nint Pages
    {
        get
        {
            if (_call.Table is null || _pageMemory is not null) return _pages;
            _pageMemory = new SentMemory(_backend);
            return _pages = _pageMemory.Send(_call.Table.Table);
        }
    }

    /// <summary>Queries, in tiles of the forward pass.</summary>
    public AttentionList Forward => (_forward ??= new List(this, _shape.Rows * _shape.Slabs, ofKeys: false)).Argument;

    /// <summary>Queries, in tiles of the backward pass.</summary>
    public AttentionList Queries => _shape.Slabs == 1 ? Forward : (_queries ??= new List(this, _shape.Rows, ofKeys: false)).Argument;

    public AttentionList Keys => (_keys ??= new List(this, _shape.Rows, ofKeys: true)).Argument;

    /// <summary>The lists of a call: kept by the query layout or its slot where the call's layouts say all, else made for this call.</summary>
    /// <param name="backend">The device.</param>
    /// <param name="call">The call.</param>
    /// <param name="shape">Tile sizes of the portable kernels.</param>
    /// <param name="query">The call's queries.</param>
    /// <param name="key">The call's keys.</param>
    /// <param name="allowed">Families that can take the call.</param>
    /// <returns>The lists, and whether the caller has to dispose them.</returns>
    public static (AttentionLists Lists, bool IsOwn) Of(CudaBackend backend, AttentionCall call, AttentionShape shape, Tensor query, Tensor key, AttentionFamilies allowed)
    {
        if (call is { Query: { } queries, Key: { } keys } && (call.KeyStarts is null || call.Pages is not null))
        {
            if (queries.Slot is { } slot && ReferenceEquals(slot, keys.Slot))
            {
                var place = new Identity(backend, slot, call.Options.Window, call.Options.Alignment, shape, allowed);
                return (slot.Attached(place, () => new AttentionLists(backend, call, shape, Spans(call, query, key), allowed, ListLimits.Of(slot))), false);
            }
            var identity = new Identity(backend, keys, call.Options.Window, call.Options.Alignment, shape, allowed, call.PageSize);
            if (queries.Attached(identity, () => new AttentionLists(backend, call, shape, Spans(call, query, key), allowed)) is { } kept) return (kept, false);
        }
        return (new AttentionLists(backend, call, shape, Spans(call, query, key), allowed), true);
    }

    /// <inheritdoc/>
    public void Refill(SequenceLayout queries, SequenceLayout keys)
    {
        AttentionSpan[] sequences = Spans(queries, keys, null);
        _portable = Of(sequences, AttentionFamilies.Portable);
        _forward?.Fill();
        _queries?.Fill();
        _keys?.Fill();
        Short?.Refill(Of(sequences, AttentionFamilies.Short));
        Hopper?.Refill(Of(sequences, AttentionFamilies.Hopper));
        OnePass?.Refill(Of(sequences, AttentionFamilies.OnePass));
    }

    public void Dispose()
    {
        _forward?.Dispose();
        _queries?.Dispose();
        _keys?.Dispose();
        Short?.Dispose();
        _pageMemory?.Dispose();
        Hopper?.Dispose();
        OnePass?.Dispose();
        Decode?.Dispose();
    }

    private AttentionSpan[] Of(AttentionSpan[] sequences, AttentionFamilies family) => Array.FindAll(sequences, s => s.Queries + s.Keys > 0 && AttentionChoice.Of(s, _allowed) == family);

    private static AttentionSpan[] Spans(AttentionCall call, Tensor query, Tensor key)
    {
        if (call is { Query: { } queries, Key: { } keys }) return Spans(queries, keys, call.KeyStarts, isPaged: call.Table is not null);
        return [.. Enumerable.Range(0, query.Shape[0]).Select(i => new AttentionSpan(i, 0, 0, query.Shape[2], key.Shape[2], (ulong)i))];
    }

    private static AttentionSpan[] Spans(SequenceLayout queries, SequenceLayout keys, int[]? keyStarts, bool isPaged = false)
    {
        var spans = new AttentionSpan[queries.Count];
        for (int i = 0; i < spans.Length; i++)
            spans[i] = new AttentionSpan(0, queries.Offsets[i], isPaged ? 0 : keyStarts?[i] ?? keys.Offsets[i], queries.Lengths[i], keys.Lengths[i], queries.DocumentKeys[i], i);
        return spans;
    }

    private sealed class List : IDisposable
    {
        private readonly AttentionLists _owner;
        private readonly int _rows;
        private readonly bool _ofKeys;
        private readonly DeviceList<AttentionTile> _tiles;

        public List(AttentionLists owner, int rows, bool ofKeys)
        {
            (_owner, _rows, _ofKeys) = (owner, rows, ofKeys);
            AttentionTiles tiles = Cut();
            AttentionList list = owner._limits is { } limits ? AttentionTiles.Most(limits, owner._shape, rows) : new AttentionList { Whole = tiles.Whole, Pairs = tiles.Pairs, Singles = tiles.Singles };
            _tiles = new DeviceList<AttentionTile>(owner._backend, list.Whole + list.Pairs + list.Singles);
            Argument = list with { Tiles = _tiles.Pointer };
            Fill(tiles);
        }

        /// <summary>As kernels take it.</summary>
        public AttentionList Argument { get; }

        public void Fill() => Fill(Cut());

        public void Dispose() => _tiles.Dispose();

        private void Fill(AttentionTiles tiles)
        {
            tiles.CopyTo(_tiles.Values, Argument);
            _tiles.Send();
        }

        private AttentionTiles Cut() => AttentionTiles.Cut(_owner._portable, _owner._shape, _rows, _ofKeys, _owner._call.Options.Window, _owner._call.Options.Alignment);
    }

    // Layouts compare by all their lengths; here the same object is meant, or the same slot.
    private sealed record Identity(CudaBackend Backend, object Keys, AttentionWindow Window, AttentionAlignment Alignment, AttentionShape Shape, AttentionFamilies Allowed, int PageSize = 0)
    {
        public bool Equals(Identity? other) => other is not null && ReferenceEquals(Backend, other.Backend) && ReferenceEquals(Keys, other.Keys)
            && Window == other.Window && Alignment == other.Alignment && Shape == other.Shape && Allowed == other.Allowed && PageSize == other.PageSize;

        public override int GetHashCode() => HashCode.Combine(RuntimeHelpers.GetHashCode(Keys), Window, Alignment, Shape, Allowed);
    }
}
