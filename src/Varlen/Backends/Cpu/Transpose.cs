using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Varlen.Backends.Cpu;

/// <summary>Transposes matrices of single floats whose sides are multiples of the vector width.</summary>
internal static unsafe class Transpose
{
    /// <summary><c>destination[c, r] = source[r, c]</c> for all of <paramref name="rows"/> by <paramref name="columns"/>.</summary>
    internal static void Run<V, S>(float* source, long sourceStride, int rows, int columns, float* destination, long destinationStride)
        where V : unmanaged where S : ISimd<V>
    {
        for (int r = 0; r < rows; r += S.Width)
            for (int c = 0; c < columns; c += S.Width)
                Block<V, S>(source + r * sourceStride + c, sourceStride, destination + c * destinationStride + r, destinationStride);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Block<V, S>(float* source, long sourceStride, float* destination, long destinationStride)
        where V : unmanaged where S : ISimd<V>
    {
        if (S.Width == 16 && Avx512F.IsSupported) Block16(source, sourceStride, destination, destinationStride);
        else if (S.Width == 8 && Avx.IsSupported) Block8(source, sourceStride, destination, destinationStride);
        else
            for (int r = 0; r < S.Width; r++)
                for (int c = 0; c < S.Width; c++)
                    destination[c * destinationStride + r] = source[r * sourceStride + c];
    }

    // Both blocks first transpose 4 by 4 within 128-bit lanes, then gather equal lanes of all row groups. The detour through a
    // buffer costs less than it seems: the shuffles are what limits.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Block16(float* source, long sourceStride, float* destination, long destinationStride)
    {
        float* lanes = stackalloc float[256];
        for (int group = 0; group < 4; group++)
        {
            float* row = source + 4 * group * sourceStride;
            Vector512<float> r0 = Vector512.Load(row), r1 = Vector512.Load(row + sourceStride);
            Vector512<float> r2 = Vector512.Load(row + 2 * sourceStride), r3 = Vector512.Load(row + 3 * sourceStride);
            Vector512<float> t0 = Avx512F.UnpackLow(r0, r1), t1 = Avx512F.UnpackHigh(r0, r1);
            Vector512<float> t2 = Avx512F.UnpackLow(r2, r3), t3 = Avx512F.UnpackHigh(r2, r3);
            float* to = lanes + 16 * group;
            Avx512F.Shuffle(t0, t2, 0x44).Store(to);
            Avx512F.Shuffle(t0, t2, 0xEE).Store(to + 64);
            Avx512F.Shuffle(t1, t3, 0x44).Store(to + 128);
            Avx512F.Shuffle(t1, t3, 0xEE).Store(to + 192);
        }
        for (int column = 0; column < 4; column++)
        {
            float* from = lanes + 64 * column;
            Vector512<float> a = Vector512.Load(from), b = Vector512.Load(from + 16);
            Vector512<float> c = Vector512.Load(from + 32), d = Vector512.Load(from + 48);
            Vector512<float> evenAB = Avx512F.Shuffle4x128(a, b, 0x88), oddAB = Avx512F.Shuffle4x128(a, b, 0xDD);
            Vector512<float> evenCD = Avx512F.Shuffle4x128(c, d, 0x88), oddCD = Avx512F.Shuffle4x128(c, d, 0xDD);
            float* to = destination + column * destinationStride;
            Avx512F.Shuffle4x128(evenAB, evenCD, 0x88).Store(to);
            Avx512F.Shuffle4x128(oddAB, oddCD, 0x88).Store(to + 4 * destinationStride);
            Avx512F.Shuffle4x128(evenAB, evenCD, 0xDD).Store(to + 8 * destinationStride);
            Avx512F.Shuffle4x128(oddAB, oddCD, 0xDD).Store(to + 12 * destinationStride);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Block8(float* source, long sourceStride, float* destination, long destinationStride)
    {
        float* lanes = stackalloc float[64];
        for (int group = 0; group < 2; group++)
        {
            float* row = source + 4 * group * sourceStride;
            Vector256<float> r0 = Vector256.Load(row), r1 = Vector256.Load(row + sourceStride);
            Vector256<float> r2 = Vector256.Load(row + 2 * sourceStride), r3 = Vector256.Load(row + 3 * sourceStride);
            Vector256<float> t0 = Avx.UnpackLow(r0, r1), t1 = Avx.UnpackHigh(r0, r1);
            Vector256<float> t2 = Avx.UnpackLow(r2, r3), t3 = Avx.UnpackHigh(r2, r3);
            float* to = lanes + 8 * group;
            Avx.Shuffle(t0, t2, 0x44).Store(to);
            Avx.Shuffle(t0, t2, 0xEE).Store(to + 16);
            Avx.Shuffle(t1, t3, 0x44).Store(to + 32);
            Avx.Shuffle(t1, t3, 0xEE).Store(to + 48);
        }
        for (int column = 0; column < 4; column++)
        {
            Vector256<float> a = Vector256.Load(lanes + 16 * column), b = Vector256.Load(lanes + 16 * column + 8);
            float* to = destination + column * destinationStride;
            Avx.Permute2x128(a, b, 0x20).Store(to);
            Avx.Permute2x128(a, b, 0x31).Store(to + 4 * destinationStride);
        }
    }
}
