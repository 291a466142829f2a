using System.Runtime.InteropServices;

namespace Varlen.Backends.Cpu.Attention;

/// <summary>The blocks of one attention task, cut one after the other from the thread's own scratch memory.</summary>
internal sealed unsafe class AttentionScratch
{
    // A cache line, and a whole AVX-512 vector.
    private const long Alignment = 64;

    [ThreadStatic] private static AttentionScratch? t_current;

    private byte* _memory;
    private long _size, _used;

    /// <summary>The calling thread's own scratch.</summary>
    internal static AttentionScratch OfThisThread => t_current ??= new AttentionScratch();

    /// <summary>Drops everything taken so far and makes room for <paramref name="floats"/> elements in blocks of whole cache lines.</summary>
    internal void Begin(long floats, int blocks)
    {
        _size = checked((floats * sizeof(float)) + (blocks * Alignment));
        _used = 0;
        _memory = NativeScratch.Rent<byte>(ScratchUse.Attention, _size);
    }

    /// <summary>The next block, uninitialised. The sum of all blocks is what <see cref="Begin"/> announced.</summary>
    internal float* Take(long floats)
    {
        byte* block = _memory + _used;
        _used += ((floats * sizeof(float)) + Alignment - 1) / Alignment * Alignment;
        if (_used > _size) throw new InvalidOperationException($"scratch of {_size} bytes is too small for a block of {floats} floats");
        return (float*)block;
    }

    /// <summary>Zeroes floats, however many.</summary>
    internal static void Clear(float* values, long count) => NativeMemory.Clear(values, checked((nuint)count * sizeof(float)));
}
