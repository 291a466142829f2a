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

    /// <summary>Blocks that come before it in the tree.</summary>
    public HeapBlock? Lower { get; set; }

    /// <summary>Blocks that come after it in the tree.</summary>
    public HeapBlock? Upper { get; set; }

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
        block.IsFree = true;
        _root = Add(_root, block);
    }

    public void Remove(HeapBlock block)
    {
        _root = Remove(_root, block);
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

    private static HeapBlock Add(HeapBlock? root, HeapBlock block)
    {
        if (root is null) return block;
        if (block.Priority > root.Priority)
        {
            (block.Lower, block.Upper) = Split(root, block);
            return block;
        }
        if (block.IsBefore(root)) root.Lower = Add(root.Lower, block);
        else root.Upper = Add(root.Upper, block);
        return root;
    }

    private static HeapBlock? Remove(HeapBlock? root, HeapBlock block)
    {
        if (root is null || root == block) return Join(block.Lower, block.Upper);
        if (block.IsBefore(root)) root.Lower = Remove(root.Lower, block);
        else root.Upper = Remove(root.Upper, block);
        return root;
    }

    private static (HeapBlock? Lower, HeapBlock? Upper) Split(HeapBlock? root, HeapBlock block)
    {
        if (root is null) return default;
        if (root.IsBefore(block))
        {
            (root.Upper, HeapBlock? upper) = Split(root.Upper, block);
            return (root, upper);
        }
        (HeapBlock? lower, root.Lower) = Split(root.Lower, block);
        return (lower, root);
    }

    private static HeapBlock? Join(HeapBlock? lower, HeapBlock? upper)
    {
        if (lower is null || upper is null) return lower ?? upper;
        if (lower.Priority > upper.Priority)
        {
            lower.Upper = Join(lower.Upper, upper);
            return lower;
        }
        upper.Lower = Join(lower, upper.Lower);
        return upper;
    }
}
