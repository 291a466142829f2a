namespace Varlen.Backends.Cpu;

/// <summary>
/// Working memory of one thread, kept between calls: native, page-aligned, grown when a call needs more, freed when the thread
/// is gone. What a buffer holds at the start of a call is undefined.
/// </summary>
internal sealed unsafe class NativeScratch
{
    private const long Alignment = 4096;

    [ThreadStatic] private static NativeScratch? t_current;

    private readonly void*[] _buffers = new void*[Enum.GetValues<ScratchUse>().Length];
    private readonly long[] _bytes = new long[Enum.GetValues<ScratchUse>().Length];

    private NativeScratch() { }

    ~NativeScratch()
    {
        foreach (void* buffer in _buffers) NativeBlock.Free(buffer);
    }

    /// <summary>The calling thread's buffer for a use, at least <paramref name="count"/> elements long. Valid until its next request.</summary>
    internal static T* Rent<T>(ScratchUse use, long count) where T : unmanaged
        => (T*)(t_current ??= new NativeScratch()).Buffer((int)use, checked(count * sizeof(T)));

    private void* Buffer(int use, long bytes)
    {
        if (_bytes[use] < bytes)
        {
            NativeBlock.Free(_buffers[use]);
            _buffers[use] = null;
            _bytes[use] = 0;
            _buffers[use] = NativeBlock.Allocate(bytes, Alignment);
            _bytes[use] = bytes;
        }
        return _buffers[use];
    }
}

/// <summary>Buffers of a <see cref="NativeScratch"/> that are in use at the same time.</summary>
internal enum ScratchUse
{
    /// <summary>Rows of an elementwise op, a norm or a loss.</summary>
    Rows,
    /// <summary>Packed operands, tiles and accumulators of an attention task.</summary>
    Attention,
    /// <summary>Packed rows of a matrix product's left operand.</summary>
    ProductLeft,
    /// <summary>Packed columns of a matrix product's right operand, shared by the team.</summary>
    ProductRight,
    /// <summary>One tile's packed columns of a matrix product's right operand.</summary>
    ProductStrip,
    /// <summary>Single-precision tiles of a result that is stored otherwise.</summary>
    ProductTile,
    /// <summary>As <see cref="ProductTile"/>, for as long as a result waits for its next block of k, shared by the team.</summary>
    ProductStage,
    /// <summary>A bias in the precision of the accumulators, padded to whole tiles, shared by the team.</summary>
    ProductBias,
}
