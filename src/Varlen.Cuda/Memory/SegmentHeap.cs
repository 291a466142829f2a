namespace Varlen.Backends.Cuda.Memory;

/// <summary>Where a <see cref="SegmentHeap"/> has its segments from.</summary>
internal interface ISegmentSource
{
    /// <summary>A new segment; 0 when there is no room.</summary>
    nint Take(long bytes);

    /// <summary>Takes a segment back. What was started before may still use it.</summary>
    void Return(nint segment, long bytes);
}

/// <summary>
/// Blocks cut from large segments: each from the smallest free block that holds it, the first one in memory of several; what is left over stays free,
/// and a block that is freed becomes one with its free neighbours. A program that asks for the same sizes step after step, or for nearly the same, soon
/// needs no further segment.
/// </summary>
/// <remarks>
/// Requests below <see cref="LeastLarge"/> have segments of their own, so that a small one that lives long does not keep a large block in pieces. Free
/// segments are made one with the next that is needed: after a few steps what is used in a step lies in a few large ones. Not thread-safe.
/// </remarks>
/// <param name="source">Where segments come from.</param>
internal sealed class SegmentHeap(ISegmentSource source)
{
    /// <summary>What addresses and sizes are multiples of.</summary>
    public const long Alignment = 512;

    /// <summary>Fewest bytes of a large request.</summary>
    public const long LeastLarge = 1 << 20;

    /// <summary>Calls for which a segment stays free before it is given back: many steps' worth.</summary>
    public const long MostIdle = 1 << 17;

    private const long SegmentStep = 2 << 20, LeastSegment = 32 << 20;
    // New segments are at least this part of all there are, so that there are few.
    private const int GrowthDivisor = 16;

    private readonly Dictionary<nint, HeapBlock> _taken = [];
    private readonly FreeBlocks _small = new(), _large = new();
    private readonly List<HeapBlock> _whole = [];
    private HeapBlock? _spare;
    private long _calls;

    /// <summary>Bytes of the blocks that are in use.</summary>
    public long UsedBytes { get; private set; }

    /// <summary>Most of <see cref="UsedBytes"/> since <see cref="ResetPeak"/>.</summary>
    public long PeakBytes { get; private set; }

    /// <summary>Bytes of all segments.</summary>
    public long ReservedBytes { get; private set; }

    /// <summary>Blocks in use.</summary>
    public int Count => _taken.Count;

    public void ResetPeak() => PeakBytes = UsedBytes;

    /// <summary>A block's first byte; 0 when there is no room.</summary>
    public nint Allocate(long bytes)
    {
        if (++_calls % MostIdle == 0) Return(_calls - MostIdle);
        bytes = RoundUp(Math.Max(bytes, 1), Alignment);
        FreeBlocks home = bytes < LeastLarge ? _small : _large;
        HeapBlock? block = home.Best(bytes) ?? Grow(home, bytes);
        if (block is null && home == _small)
        {
            home = _large;
            block = home.Best(bytes);
        }
        if (block is null) return 0;
        home.Remove(block);
        if (block.Bytes > bytes)
        {
            HeapBlock rest = Make(home, block.Address + (nint)bytes, block.Bytes - bytes);
            block.Bytes = bytes;
            (rest.Before, rest.After, block.After) = (block, block.After, rest);
            if (rest.After is not null) rest.After.Before = rest;
            home.Add(rest);
        }
        _taken.Add(block.Address, block);
        UsedBytes += bytes;
        PeakBytes = Math.Max(PeakBytes, UsedBytes);
        return block.Address;
    }

    /// <summary>Takes a block back.</summary>
    public void Free(nint address)
    {
        if (!_taken.Remove(address, out HeapBlock? block)) throw new ArgumentException($"no block in use begins at {address:x}", nameof(address));
        UsedBytes -= block.Bytes;
        if (block.After is { IsFree: true } after)
        {
            block.Home.Remove(after);
            Absorb(block, after);
        }
        if (block.Before is { IsFree: true } before)
        {
            block.Home.Remove(before);
            Absorb(before, block);
            block = before;
        }
        block.FreeSince = _calls;
        block.Home.Add(block);
    }

    /// <summary>Gives all segments back that hold no block in use.</summary>
    public void ReturnUnused() => Return(long.MaxValue);

    private HeapBlock? Grow(FreeBlocks home, long bytes)
    {
        long least = RoundUp(bytes, SegmentStep), wanted = least;
        if (home == _large)
        {
            // None of them is large enough; one segment in their place may hold this block and what they held.
            long returned = Return(_large, long.MaxValue);
            wanted = Math.Max(least, RoundUp(Math.Max(returned, Math.Max(LeastSegment, (ReservedBytes + returned) / GrowthDivisor)), SegmentStep));
        }
        nint segment = source.Take(wanted);
        if (segment == 0 && wanted > least) segment = source.Take(wanted = least);
        if (segment == 0) return null;
        ReservedBytes += wanted;
        HeapBlock block = Make(home, segment, wanted);
        block.FreeSince = _calls;
        home.Add(block);
        return block;
    }

    private void Return(long freeSince)
    {
        Return(_small, freeSince);
        Return(_large, freeSince);
    }

    // Whole segments that are free since then or before.
    private long Return(FreeBlocks home, long freeSince)
    {
        home.ListWhole(_whole);
        long returned = 0;
        foreach (HeapBlock block in _whole)
        {
            if (block.FreeSince > freeSince) continue;
            home.Remove(block);
            source.Return(block.Address, block.Bytes);
            returned += block.Bytes;
            ReservedBytes -= block.Bytes;
            Drop(block);
        }
        _whole.Clear();
        return returned;
    }

    private void Absorb(HeapBlock block, HeapBlock next)
    {
        block.Bytes += next.Bytes;
        block.After = next.After;
        if (block.After is not null) block.After.Before = block;
        Drop(next);
    }

    private HeapBlock Make(FreeBlocks home, nint address, long bytes)
    {
        HeapBlock block = _spare ?? new HeapBlock();
        _spare = block.After;
        block.After = null;
        (block.Home, block.Address, block.Bytes) = (home, address, bytes);
        return block;
    }

    // Kept for the next block, so that steps allocate no objects.
    private void Drop(HeapBlock block)
    {
        (block.Before, block.After) = (null, _spare);
        _spare = block;
    }

    private static long RoundUp(long bytes, long step) => (bytes + step - 1) / step * step;
}
