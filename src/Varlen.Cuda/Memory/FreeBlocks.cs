namespace Varlen.Backends.Cuda.Memory;

/// <summary>A part of a segment, in use or free.</summary>
internal sealed class HeapBlock
{
    /// <summary>What it belongs to when it is free.</summary>
    public FreeBlocks Home { get; set; } = null!;

    public nint Address { get; set; }

    public long Bytes { get; set; }

    public bool IsFree { get; set; }

    /// <summary>The heap's count of calls when it became free.</summary>
    public long FreeSince { get; set; }

    /// <summary>The segment's block before this one.</summary>
    public HeapBlock? Before { get; set; }

    /// <summary>The segment's block behind this one.</summary>
    public HeapBlock? After { get; set; }

    /// <summary>Blocks that come before it in the tree, and after it.</summary>
    public HeapBlock? Lower, Upper;

    // Scattered, so that the tree is about as deep as the logarithm of its size.
    public uint Priority => (uint)(((ulong)Address >> 9) * 0x9E3779B97F4A7C15 >> 32);

    public bool IsBefore(HeapBlock other) => Bytes != other.Bytes ? Bytes < other.Bytes : Address < other.Address;
}

/// <summary>Free blocks by size, and by address among equals: a search tree whose nodes are the blocks, ordered downwards by their priorities.</summary>
internal sealed class FreeBlocks
{
    private HeapBlock? _root;

    /// <summary>The smallest block of at least these bytes, the first in memory of several; null when there is none.</summary>
    public HeapBlock? Best(long bytes)
    {
        HeapBlock? best = null;
        for (HeapBlock? block = _root; block is not null;)
        {
            if (block.Bytes < bytes)
            {
                block = block.Upper;
                continue;
            }
            best = block;
            block = block.Lower;
        }
        return best;
    }

    public void Add(HeapBlock block)
    {
        uint priority = block.Priority;
        ref HeapBlock? link = ref _root;
        while (link is not null && link.Priority >= priority) link = ref Side(link, block);
        // What was there is split in two around the block; only links that change are written.
        HeapBlock? rest = link;
        link = block;
        ref HeapBlock? lower = ref block.Lower, upper = ref block.Upper;
        while (rest is not null)
        {
            if (rest.IsBefore(block))
            {
                lower = rest;
                lower = ref rest.Upper;
                rest = lower;
            }
            else
            {
                upper = rest;
                upper = ref rest.Lower;
                rest = upper;
            }
        }
        (lower, upper) = (null, null);
        block.IsFree = true;
    }

    public void Remove(HeapBlock block)
    {
        ref HeapBlock? link = ref _root;
        while (link != block) link = ref Side(link!, block);
        // What hangs below takes the block's place.
        HeapBlock? lower = block.Lower, upper = block.Upper;
        while (lower is not null && upper is not null)
        {
            if (lower.Priority >= upper.Priority)
            {
                link = lower;
                link = ref lower.Upper;
                lower = link;
            }
            else
            {
                link = upper;
                link = ref upper.Lower;
                upper = link;
            }
        }
        link = lower ?? upper;
        (block.IsFree, block.Lower, block.Upper) = (false, null, null);
    }

    /// <summary>Appends the blocks that are whole segments.</summary>
    public void ListWhole(List<HeapBlock> list) => ListWhole(_root, list);

    private static void ListWhole(HeapBlock? root, List<HeapBlock> list)
    {
        if (root is null) return;
        ListWhole(root.Lower, list);
        if (root is { Before: null, After: null }) list.Add(root);
        ListWhole(root.Upper, list);
    }

    private static ref HeapBlock? Side(HeapBlock node, HeapBlock block) => ref block.IsBefore(node) ? ref node.Lower : ref node.Upper;
}
