using System.Runtime.CompilerServices;

namespace Varlen.Backends.Cpu.Attention;

/// <summary>What a tile product does to the old values.</summary>
internal enum TileMode
{
    /// <summary>C = A B.</summary>
    Store,
    /// <summary>C = C + A B.</summary>
    Add,
    /// <summary>C = C * factor of the column + A B.</summary>
    Rescale,
}

/// <summary>A number of vectors known to the JIT, which drops the code of all further ones.</summary>
internal interface IVectorCount
{
    static abstract int Count { get; }
}

internal readonly struct Vectors1 : IVectorCount { public static int Count => 1; }
internal readonly struct Vectors2 : IVectorCount { public static int Count => 2; }
internal readonly struct Vectors3 : IVectorCount { public static int Count => 3; }

/// <summary>How the rows of A lie in memory, known to the JIT.</summary>
internal interface IRowOrder
{
    /// <summary>True: element (r, k) is at <c>k * stride + r</c>. False: at <c>r * stride + k</c>.</summary>
    static abstract bool Interleaved { get; }
}

internal readonly struct Interleaved : IRowOrder { static bool IRowOrder.Interleaved => true; }
internal readonly struct Separate : IRowOrder { static bool IRowOrder.Interleaved => false; }

/// <summary>
/// The innermost product: 8 rows by up to three vectors of columns, one accumulator each, all in registers (4 rows at a time where
/// a machine has 16 registers). Each element is one chain of fused multiply-adds in the order of k, whatever the shape.
/// </summary>
/// <remarks>No static fields on purpose: reading one here makes the JIT keep the accumulators on the stack.</remarks>
internal static unsafe class TileProduct
{
    /// <summary>Rows of every tile; callers pad the rows of C, and those of A, to a multiple of it.</summary>
    internal const int Rows = 8;

    /// <summary>Multiplies 8 rows of A by <paramref name="vectors"/> (1 to 3) vectors of columns of B.</summary>
    /// <remarks>
    /// The chain has <c>depth</c> links; element (k, j) of B is at <c>k * bStride + j</c>, A is as TOrder says. The factors, one per
    /// column, belong to <see cref="TileMode.Rescale"/> and are unused otherwise.
    /// </remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Multiply<V, S, TOrder>(int vectors, int depth, float* a, long aStride, float* b, long bStride,
        float* c, long cStride, TileMode mode, float* factors) where V : unmanaged where S : ISimd<V> where TOrder : IRowOrder
    {
        if (S.Width == 16)
        {
            Eight<V, S, TOrder>(vectors, depth, a, aStride, b, bStride, c, cStride, mode, factors);
            return;
        }
        Four<V, S, TOrder>(vectors, depth, a, aStride, b, bStride, c, cStride, mode, factors);
        a += TOrder.Interleaved ? 4 : 4 * aStride;
        Four<V, S, TOrder>(vectors, depth, a, aStride, b, bStride, c + 4 * cStride, cStride, mode, factors);
    }

    private static void Eight<V, S, TOrder>(int vectors, int depth, float* a, long aStride, float* b, long bStride,
        float* c, long cStride, TileMode mode, float* factors) where V : unmanaged where S : ISimd<V> where TOrder : IRowOrder
    {
        if (vectors == 3) Eight<V, S, TOrder, Vectors3>(depth, a, aStride, b, bStride, c, cStride, mode, factors);
        else if (vectors == 2) Eight<V, S, TOrder, Vectors2>(depth, a, aStride, b, bStride, c, cStride, mode, factors);
        else Eight<V, S, TOrder, Vectors1>(depth, a, aStride, b, bStride, c, cStride, mode, factors);
    }

    private static void Four<V, S, TOrder>(int vectors, int depth, float* a, long aStride, float* b, long bStride,
        float* c, long cStride, TileMode mode, float* factors) where V : unmanaged where S : ISimd<V> where TOrder : IRowOrder
    {
        if (vectors == 3) Four<V, S, TOrder, Vectors3>(depth, a, aStride, b, bStride, c, cStride, mode, factors);
        else if (vectors == 2) Four<V, S, TOrder, Vectors2>(depth, a, aStride, b, bStride, c, cStride, mode, factors);
        else Four<V, S, TOrder, Vectors1>(depth, a, aStride, b, bStride, c, cStride, mode, factors);
    }


    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Eight<V, S, TOrder, TVectors>(int depth, float* a, long aStride, float* b, long bStride,
        float* c, long cStride, TileMode mode, float* factors)
        where V : unmanaged where S : ISimd<V> where TOrder : IRowOrder where TVectors : IVectorCount
    {
        V c00 = S.Zero, c10 = S.Zero, c20 = S.Zero, c30 = S.Zero, c40 = S.Zero, c50 = S.Zero, c60 = S.Zero, c70 = S.Zero;
        V c01 = S.Zero, c11 = S.Zero, c21 = S.Zero, c31 = S.Zero, c41 = S.Zero, c51 = S.Zero, c61 = S.Zero, c71 = S.Zero;
        V c02 = S.Zero, c12 = S.Zero, c22 = S.Zero, c32 = S.Zero, c42 = S.Zero, c52 = S.Zero, c62 = S.Zero, c72 = S.Zero;
        // Two further row pointers and two offsets reach 8 rows without running out of address registers.
        float* a3 = a + 3 * aStride, a6 = a + 6 * aStride;
        long two = 2 * aStride;
        for (int k = depth; k > 0; k--)
        {
            V b0 = S.Load(b), b1 = S.Zero, b2 = S.Zero;
            if (TVectors.Count > 1) b1 = S.Load(b + S.Width);
            if (TVectors.Count > 2) b2 = S.Load(b + 2 * S.Width);
            b += bStride;
            V x = S.Set(TOrder.Interleaved ? a[0] : a[0]);
            c00 = S.Fma(x, b0, c00);
            if (TVectors.Count > 1) c01 = S.Fma(x, b1, c01);
            if (TVectors.Count > 2) c02 = S.Fma(x, b2, c02);
            x = S.Set(TOrder.Interleaved ? a[1] : a[aStride]);
            c10 = S.Fma(x, b0, c10);
            if (TVectors.Count > 1) c11 = S.Fma(x, b1, c11);
            if (TVectors.Count > 2) c12 = S.Fma(x, b2, c12);
            x = S.Set(TOrder.Interleaved ? a[2] : a[two]);
            c20 = S.Fma(x, b0, c20);
            if (TVectors.Count > 1) c21 = S.Fma(x, b1, c21);
            if (TVectors.Count > 2) c22 = S.Fma(x, b2, c22);
            x = S.Set(TOrder.Interleaved ? a[3] : a3[0]);
            c30 = S.Fma(x, b0, c30);
            if (TVectors.Count > 1) c31 = S.Fma(x, b1, c31);
            if (TVectors.Count > 2) c32 = S.Fma(x, b2, c32);
            x = S.Set(TOrder.Interleaved ? a[4] : a3[aStride]);
            c40 = S.Fma(x, b0, c40);
            if (TVectors.Count > 1) c41 = S.Fma(x, b1, c41);
            if (TVectors.Count > 2) c42 = S.Fma(x, b2, c42);
            x = S.Set(TOrder.Interleaved ? a[5] : a3[two]);
            c50 = S.Fma(x, b0, c50);
            if (TVectors.Count > 1) c51 = S.Fma(x, b1, c51);
            if (TVectors.Count > 2) c52 = S.Fma(x, b2, c52);
            x = S.Set(TOrder.Interleaved ? a[6] : a6[0]);
            c60 = S.Fma(x, b0, c60);
            if (TVectors.Count > 1) c61 = S.Fma(x, b1, c61);
            if (TVectors.Count > 2) c62 = S.Fma(x, b2, c62);
            x = S.Set(TOrder.Interleaved ? a[7] : a6[aStride]);
            c70 = S.Fma(x, b0, c70);
            if (TVectors.Count > 1) c71 = S.Fma(x, b1, c71);
            if (TVectors.Count > 2) c72 = S.Fma(x, b2, c72);
            if (TOrder.Interleaved) a += aStride;
            else { a++; a3++; a6++; }
        }
        Finish<V, S>(c, cStride, mode, factors, c00, c10, c20, c30, c40, c50, c60, c70);
        if (TVectors.Count > 1) Finish<V, S>(c + S.Width, cStride, mode, factors + S.Width, c01, c11, c21, c31, c41, c51, c61, c71);
        if (TVectors.Count > 2) Finish<V, S>(c + 2 * S.Width, cStride, mode, factors + 2 * S.Width, c02, c12, c22, c32, c42, c52, c62, c72);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Four<V, S, TOrder, TVectors>(int depth, float* a, long aStride, float* b, long bStride,
        float* c, long cStride, TileMode mode, float* factors)
        where V : unmanaged where S : ISimd<V> where TOrder : IRowOrder where TVectors : IVectorCount
    {
        V c00 = S.Zero, c10 = S.Zero, c20 = S.Zero, c30 = S.Zero;
        V c01 = S.Zero, c11 = S.Zero, c21 = S.Zero, c31 = S.Zero;
        V c02 = S.Zero, c12 = S.Zero, c22 = S.Zero, c32 = S.Zero;
        float* a2 = a + 2 * aStride;
        for (int k = depth; k > 0; k--)
        {
            V b0 = S.Load(b), b1 = S.Zero, b2 = S.Zero;
            if (TVectors.Count > 1) b1 = S.Load(b + S.Width);
            if (TVectors.Count > 2) b2 = S.Load(b + 2 * S.Width);
            b += bStride;
            V x = S.Set(TOrder.Interleaved ? a[0] : a[0]);
            c00 = S.Fma(x, b0, c00);
            if (TVectors.Count > 1) c01 = S.Fma(x, b1, c01);
            if (TVectors.Count > 2) c02 = S.Fma(x, b2, c02);
            x = S.Set(TOrder.Interleaved ? a[1] : a[aStride]);
            c10 = S.Fma(x, b0, c10);
            if (TVectors.Count > 1) c11 = S.Fma(x, b1, c11);
            if (TVectors.Count > 2) c12 = S.Fma(x, b2, c12);
            x = S.Set(TOrder.Interleaved ? a[2] : a2[0]);
            c20 = S.Fma(x, b0, c20);
            if (TVectors.Count > 1) c21 = S.Fma(x, b1, c21);
            if (TVectors.Count > 2) c22 = S.Fma(x, b2, c22);
            x = S.Set(TOrder.Interleaved ? a[3] : a2[aStride]);
            c30 = S.Fma(x, b0, c30);
            if (TVectors.Count > 1) c31 = S.Fma(x, b1, c31);
            if (TVectors.Count > 2) c32 = S.Fma(x, b2, c32);
            if (TOrder.Interleaved) a += aStride;
            else { a++; a2++; }
        }
        Finish<V, S>(c, cStride, mode, factors, c00, c10, c20, c30);
        if (TVectors.Count > 1) Finish<V, S>(c + S.Width, cStride, mode, factors + S.Width, c01, c11, c21, c31);
        if (TVectors.Count > 2) Finish<V, S>(c + 2 * S.Width, cStride, mode, factors + 2 * S.Width, c02, c12, c22, c32);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Finish<V, S>(float* c, long stride, TileMode mode, float* factors,
        V c0, V c1, V c2, V c3, V c4, V c5, V c6, V c7) where V : unmanaged where S : ISimd<V>
    {
        if (mode != TileMode.Store)
        {
            V factor = mode == TileMode.Add ? S.Set(1f) : S.Load(factors);
            c0 = S.Fma(S.Load(c), factor, c0);
            c1 = S.Fma(S.Load(c + 1 * stride), factor, c1);
            c2 = S.Fma(S.Load(c + 2 * stride), factor, c2);
            c3 = S.Fma(S.Load(c + 3 * stride), factor, c3);
            c4 = S.Fma(S.Load(c + 4 * stride), factor, c4);
            c5 = S.Fma(S.Load(c + 5 * stride), factor, c5);
            c6 = S.Fma(S.Load(c + 6 * stride), factor, c6);
            c7 = S.Fma(S.Load(c + 7 * stride), factor, c7);
        }
        S.Store(c, c0);
        S.Store(c + 1 * stride, c1);
        S.Store(c + 2 * stride, c2);
        S.Store(c + 3 * stride, c3);
        S.Store(c + 4 * stride, c4);
        S.Store(c + 5 * stride, c5);
        S.Store(c + 6 * stride, c6);
        S.Store(c + 7 * stride, c7);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Finish<V, S>(float* c, long stride, TileMode mode, float* factors,
        V c0, V c1, V c2, V c3) where V : unmanaged where S : ISimd<V>
    {
        if (mode != TileMode.Store)
        {
            V factor = mode == TileMode.Add ? S.Set(1f) : S.Load(factors);
            c0 = S.Fma(S.Load(c), factor, c0);
            c1 = S.Fma(S.Load(c + 1 * stride), factor, c1);
            c2 = S.Fma(S.Load(c + 2 * stride), factor, c2);
            c3 = S.Fma(S.Load(c + 3 * stride), factor, c3);
        }
        S.Store(c, c0);
        S.Store(c + 1 * stride, c1);
        S.Store(c + 2 * stride, c2);
        S.Store(c + 3 * stride, c3);
    }
}
