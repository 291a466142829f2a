using System.Runtime.InteropServices;

namespace Varlen.Backends.Cpu.Attention;

/// <summary>
/// Aligned native memory that a thread keeps from one call to the next, so that a step allocates nothing. It only grows.
/// </summary>
internal sealed unsafe class NativeScratch
{
    // A cache line, and a whole AVX-512 vector.
    private const nuint Alignment = 64;

    [ThreadStatic] private static NativeScratch? t_current;

    private byte* _memory;
    private nuint _size, _used;

    /// <summary>The calling thread's own scratch.</summary>
    internal static NativeScratch OfThisThread => t_current ??= new NativeScratch();

    /// <summary>Drops everything taken so far and makes room for <paramref name="floats"/> elements in blocks of whole cache lines.</summary>
    internal void Begin(long floats, int blocks)
    {
        nuint size = checked((nuint)floats * sizeof(float) + (nuint)blocks * Alignment);
        _used = 0;
        if (size <= _size) return;
        NativeMemory.AlignedFree(_memory);
        _memory = null;
        _size = 0;
        _memory = (byte*)NativeMemory.AlignedAlloc(size, Alignment);
        _size = size;
    }

    /// <summary>The next block, uninitialised. The sum of all blocks is what <see cref="Begin"/> announced.</summary>
    internal float* Take(long floats)
    {
        byte* block = _memory + _used;
        _used += ((nuint)floats * sizeof(float) + Alignment - 1) / Alignment * Alignment;
        if (_used > _size) throw new InvalidOperationException($"scratch of {_size} bytes is too small for a block of {floats} floats");
        return (float*)block;
    }

    /// <summary>Zeroes floats, however many.</summary>
    internal static void Clear(float* values, long count) => NativeMemory.Clear(values, checked((nuint)count * sizeof(float)));

    ~NativeScratch() => NativeMemory.AlignedFree(_memory);
}
