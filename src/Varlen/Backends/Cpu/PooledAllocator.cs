using System.Numerics;

namespace Varlen.Backends.Cpu;

/// <summary>
/// Native memory kept for reuse in size classes an eighth of a power of two apart: a step whose token count differs a little from the
/// last one's finds its blocks again, and fresh pages are not faulted in each step.
/// </summary>
internal sealed unsafe class PooledAllocator : Allocator
{
    private const long Alignment = 64;
    private const long AlwaysKept = 64L << 20;

    private readonly Lock _lock = new();
    private readonly Dictionary<long, Stack<nint>> _free = [];
    private long _live, _peak, _cached;

    public override nint Allocate(long bytes)
    {
        long size = SizeClass(bytes);
        lock (_lock)
        {
            _live += size;
            _peak = Math.Max(_peak, _live);
            if (_free.TryGetValue(size, out Stack<nint>? blocks) && blocks.Count > 0)
            {
                _cached -= size;
                return blocks.Pop();
            }
        }
        try
        {
            return (nint)NativeBlock.Allocate(size, Alignment);
        }
        catch (OutOfMemoryException)
        {
            lock (_lock) _live -= size;
            Trim();
            throw;
        }
    }

    public override void Free(nint pointer, long bytes)
    {
        long size = SizeClass(bytes);
        lock (_lock)
        {
            _live -= size;
            // The cache never outgrows what was once needed at the same time.
            if (_cached + size <= Math.Max(AlwaysKept, _peak - _live))
            {
                if (!_free.TryGetValue(size, out Stack<nint>? blocks)) _free[size] = blocks = [];
                blocks.Push(pointer);
                _cached += size;
                return;
            }
        }
        NativeBlock.Free((void*)pointer);
    }

    private void Trim()
    {
        lock (_lock)
        {
            foreach (Stack<nint> blocks in _free.Values)
                while (blocks.TryPop(out nint block)) NativeBlock.Free((void*)block);
            _cached = 0;
        }
    }

    private static long SizeClass(long bytes)
    {
        if (bytes <= 512) return Math.Max(Alignment, (bytes + Alignment - 1) & -Alignment);
        long step = 1L << (BitOperations.Log2((ulong)bytes) - 3);
        return (bytes + step - 1) & -step;
    }
}
