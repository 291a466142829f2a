using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Varlen.Backends.Cpu;

/// <summary>
/// Copies a strip of a matrix into the order in which the micro-kernel reads it: for every k, the strip's lanes (rows of A or
/// columns of B) side by side, converted to single precision.
/// </summary>
internal static unsafe class Packing
{
    /// <summary>Packs one strip.</summary>
    /// <param name="dtype">Storage type of the source.</param>
    /// <param name="source">Lane 0 at k = 0.</param>
    /// <param name="ld">Elements between two rows of the source.</param>
    /// <param name="transposed">False: lanes are adjacent and rows of the source are k. True: lanes are rows of the source.</param>
    /// <param name="lanes">Lanes to read.</param>
    /// <param name="readable">Adjacent lanes that may be read without leaving the matrix; at least <paramref name="lanes"/>.</param>
    /// <param name="depth">How many k.</param>
    /// <param name="destination">Lane 0 at k = 0.</param>
    /// <param name="stride">Floats between two k in the destination; lanes from <paramref name="lanes"/> up to here get zeros or other lanes' values.</param>
    internal static void Pack(
        DType dtype, void* source, long ld, bool transposed, int lanes, long readable, long depth, float* destination, int stride)
    {
        switch (dtype)
        {
            case DType.BFloat16:
                Pack<BFloat16, BFloat16Element>((BFloat16*)source, ld, transposed, lanes, readable, depth, destination, stride);
                break;
            case DType.Float16:
                Pack<Half, Float16Element>((Half*)source, ld, transposed, lanes, readable, depth, destination, stride);
                break;
            default:
                Pack<float, Float32Element>((float*)source, ld, transposed, lanes, readable, depth, destination, stride);
                break;
        }
    }

    private static void Pack<T, E>(T* source, long ld, bool transposed, int lanes, long readable, long depth, float* destination, int stride)
        where T : unmanaged where E : IElement<T>
    {
        if (transposed) Transpose<T, E>(source, ld, lanes, depth, destination, stride);
        else if (readable >= stride) Copy<T, E>(source, ld, depth, destination, stride);
        else CopyEdge<T, E>(source, ld, lanes, depth, destination, stride);
    }

    /// <summary>
    /// As <see cref="Pack(DType, void*, long, bool, int, long, long, float*, int)"/> for several strips of adjacent lanes at once.
    /// Taking them together reads whole runs of each source row, where strip by strip would visit every row, and with long rows
    /// every page, once per strip.
    /// </summary>
    /// <param name="dtype">Storage type of the source.</param>
    /// <param name="source">Lane 0 of strip 0 at k = 0.</param>
    /// <param name="ld">Elements between two rows of the source.</param>
    /// <param name="strips">First lanes of the strips; each can be read to a whole number of 16 lanes.</param>
    /// <param name="depth">How many k.</param>
    /// <param name="destination">Lane 0 of strip 0 at k = 0.</param>
    /// <param name="stride">Floats between two k in the destination.</param>
    /// <param name="stripStride">Floats between two strips in the destination.</param>
    internal static void PackAdjacent(
        DType dtype, void* source, long ld, ReadOnlySpan<long> strips, long depth, float* destination, int stride, long stripStride)
    {
        switch (dtype)
        {
            case DType.BFloat16:
                CopyAdjacent<BFloat16, BFloat16Element>((BFloat16*)source, ld, strips, depth, destination, stride, stripStride);
                break;
            case DType.Float16:
                CopyAdjacent<Half, Float16Element>((Half*)source, ld, strips, depth, destination, stride, stripStride);
                break;
            default:
                CopyAdjacent<float, Float32Element>((float*)source, ld, strips, depth, destination, stride, stripStride);
                break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void CopyAdjacent<T, E>(
        T* source, long ld, ReadOnlySpan<long> strips, long depth, float* destination, int stride, long stripStride)
        where T : unmanaged where E : IElement<T>
    {
        for (long k = 0; k < depth; k++, source += ld, destination += stride)
        {
            float* to = destination;
            foreach (long strip in strips)
            {
                T* from = source + strip;
                for (int lane = 0; lane < stride; lane += 16) E.Load16(from + lane).Store(to + lane);
                to += stripStride;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Copy<T, E>(T* source, long ld, long depth, float* destination, int stride)
        where T : unmanaged where E : IElement<T>
    {
        for (long k = 0; k < depth; k++, source += ld, destination += stride)
            for (int lane = 0; lane < stride; lane += 8) E.Load8(source + lane).Store(destination + lane);
    }

    private static void CopyEdge<T, E>(T* source, long ld, int lanes, long depth, float* destination, int stride)
        where T : unmanaged where E : IElement<T>
    {
        for (long k = 0; k < depth; k++, source += ld, destination += stride)
        {
            int lane = 0;
            for (; lane + 8 <= lanes; lane += 8) E.Load8(source + lane).Store(destination + lane);
            for (; lane < lanes; lane++) destination[lane] = E.Load(source + lane);
            for (; lane < stride; lane++) destination[lane] = 0;
        }
    }

    private static void Transpose<T, E>(T* source, long ld, int lanes, long depth, float* destination, int stride)
        where T : unmanaged where E : IElement<T>
    {
        // Lanes past the last repeat it: they cost nothing, stay inside the matrix, and never meet another lane.
        T** rows = stackalloc T*[32];
        for (int lane = 0; lane < 32; lane++) rows[lane] = source + Math.Min(lane, lanes - 1) * ld;
        long whole = depth & ~3L;
        if (Avx512F.IsSupported && stride % 16 == 0)
        {
            for (int lane = 0; lane < stride; lane += 16) Transpose16<T, E>(rows + lane, whole, destination + lane, stride);
        }
        else
        {
            for (int lane = 0; lane < stride; lane += 4) Transpose4<T, E>(rows + lane, whole, destination + lane, stride);
        }
        for (long k = whole; k < depth; k++)
            for (int lane = 0; lane < stride; lane++) destination[k * stride + lane] = E.Load(rows[lane] + k);
    }

    /// <summary>16 rows, four k at a time: quarter vectors of four rows each are gathered by the loads, then 4 x 4 blocks are transposed within.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Transpose16<T, E>(T** rows, long depth, float* destination, long stride) where T : unmanaged where E : IElement<T>
    {
        T* r0 = rows[0], r1 = rows[1], r2 = rows[2], r3 = rows[3], r4 = rows[4], r5 = rows[5], r6 = rows[6], r7 = rows[7];
        T* r8 = rows[8], r9 = rows[9], rA = rows[10], rB = rows[11], rC = rows[12], rD = rows[13], rE = rows[14], rF = rows[15];
        for (long k = 0; k < depth; k += 4)
        {
            Vector512<float> a = Quarters<T, E>(r0 + k, r4 + k, r8 + k, rC + k), b = Quarters<T, E>(r1 + k, r5 + k, r9 + k, rD + k);
            Vector512<float> c = Quarters<T, E>(r2 + k, r6 + k, rA + k, rE + k), d = Quarters<T, E>(r3 + k, r7 + k, rB + k, rF + k);
            Vector512<float> abLow = Avx512F.UnpackLow(a, b), abHigh = Avx512F.UnpackHigh(a, b);
            Vector512<float> cdLow = Avx512F.UnpackLow(c, d), cdHigh = Avx512F.UnpackHigh(c, d);
            Avx512F.Shuffle(abLow, cdLow, 0x44).Store(destination);
            Avx512F.Shuffle(abLow, cdLow, 0xEE).Store(destination + stride);
            Avx512F.Shuffle(abHigh, cdHigh, 0x44).Store(destination + 2 * stride);
            Avx512F.Shuffle(abHigh, cdHigh, 0xEE).Store(destination + 3 * stride);
            destination += 4 * stride;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Quarters<T, E>(T* a, T* b, T* c, T* d) where T : unmanaged where E : IElement<T>
    {
        Vector512<float> v = E.Load4(a).ToVector256Unsafe().ToVector512Unsafe();
        v = Avx512F.InsertVector128(v, E.Load4(b), 1);
        v = Avx512F.InsertVector128(v, E.Load4(c), 2);
        return Avx512F.InsertVector128(v, E.Load4(d), 3);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Transpose4<T, E>(T** rows, long depth, float* destination, long stride) where T : unmanaged where E : IElement<T>
    {
        T* r0 = rows[0], r1 = rows[1], r2 = rows[2], r3 = rows[3];
        for (long k = 0; k < depth; k += 4)
        {
            Vector128<float> a = E.Load4(r0 + k), b = E.Load4(r1 + k), c = E.Load4(r2 + k), d = E.Load4(r3 + k);
            Vector128<float> abLow = ZipLow(a, b), abHigh = ZipHigh(a, b), cdLow = ZipLow(c, d), cdHigh = ZipHigh(c, d);
            Vector128.Create(abLow.GetLower(), cdLow.GetLower()).Store(destination);
            Vector128.Create(abLow.GetUpper(), cdLow.GetUpper()).Store(destination + stride);
            Vector128.Create(abHigh.GetLower(), cdHigh.GetLower()).Store(destination + 2 * stride);
            Vector128.Create(abHigh.GetUpper(), cdHigh.GetUpper()).Store(destination + 3 * stride);
            destination += 4 * stride;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> ZipLow(Vector128<float> a, Vector128<float> b) => Sse.IsSupported
        ? Sse.UnpackLow(a, b)
        : (Vector128.WidenLower(a.AsUInt32()) | (Vector128.WidenLower(b.AsUInt32()) << 32)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> ZipHigh(Vector128<float> a, Vector128<float> b) => Sse.IsSupported
        ? Sse.UnpackHigh(a, b)
        : (Vector128.WidenUpper(a.AsUInt32()) | (Vector128.WidenUpper(b.AsUInt32()) << 32)).AsSingle();
}
