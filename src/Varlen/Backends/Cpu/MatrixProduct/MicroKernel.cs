using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace Varlen.Backends.Cpu;

/// <summary>Where a tile goes and how: C = Alpha * tile + Beta * C + Bias.</summary>
internal unsafe struct TileTarget
{
    public float* C;
    public long Stride;
    public float Alpha;
    public float Beta;
    /// <summary>Whether the old C counts; if not, it is not read.</summary>
    public bool Accumulate;
    /// <summary>One value per column of the tile, or null.</summary>
    public float* Bias;
}

/// <summary>
/// The innermost product: up to 12 rows by two vectors of columns, one accumulator each, all in registers.
/// Every element is one chain of fused multiply-adds in the order of k, whatever the number of rows, the layout of A or the
/// origin of B; that is what makes the bits of a row independent of its company.
/// </summary>
/// <remarks>
/// The class has no static fields on purpose: a kernel that touches one gets a class-initialiser call, which forces the
/// accumulators onto the stack and costs three quarters of the speed.
/// </remarks>
internal static unsafe class MicroKernel
{
    /// <summary>Most rows whose accumulators fit into the vector registers: 32 of them with AVX-512 and on Arm, else 16.</summary>
    internal static int MaxRows(int width) => width == 16 || AdvSimd.IsSupported ? 12 : 6;

    /// <summary>Multiplies one tile over one block of k.</summary>
    /// <param name="rows">Rows of the tile, 1 to <see cref="MaxRows"/>.</param>
    /// <param name="interleaved">Layout of A, see <see cref="IRowLayout"/>.</param>
    /// <param name="depth">Length of the chain, at least 0.</param>
    /// <param name="a">First element of the tile's rows.</param>
    /// <param name="aStride">Stride of A, as its layout has it.</param>
    /// <param name="b">Element (k, j) lies at <c>k * bStride + j</c>; two full vectors of columns are read.</param>
    /// <param name="bStride">Stride of B.</param>
    /// <param name="target">Where the tile goes.</param>
    internal static void Multiply<V, S>(
        int rows, bool interleaved, long depth, float* a, long aStride, float* b, long bStride, in TileTarget target)
        where V : unmanaged where S : ISimd<V>
    {
        if (interleaved) Select<V, S, InterleavedRows>(rows, depth, a, aStride, b, bStride, target);
        else Select<V, S, SeparateRows>(rows, depth, a, aStride, b, bStride, target);
    }

    private static void Select<V, S, TLayout>(int rows, long depth, float* a, long aStride, float* b, long bStride, in TileTarget target)
        where V : unmanaged where S : ISimd<V> where TLayout : IRowLayout
    {
        switch (rows)
        {
            case 1: Run<V, S, TLayout, Rows1>(depth, a, aStride, b, bStride, target); break;
            case 2: Run<V, S, TLayout, Rows2>(depth, a, aStride, b, bStride, target); break;
            case 3: Run<V, S, TLayout, Rows3>(depth, a, aStride, b, bStride, target); break;
            case 4: Run<V, S, TLayout, Rows4>(depth, a, aStride, b, bStride, target); break;
            case 5: Run<V, S, TLayout, Rows5>(depth, a, aStride, b, bStride, target); break;
            case 6: Run<V, S, TLayout, Rows6>(depth, a, aStride, b, bStride, target); break;
            case 7: Run<V, S, TLayout, Rows7>(depth, a, aStride, b, bStride, target); break;
            case 8: Run<V, S, TLayout, Rows8>(depth, a, aStride, b, bStride, target); break;
            case 9: Run<V, S, TLayout, Rows9>(depth, a, aStride, b, bStride, target); break;
            case 10: Run<V, S, TLayout, Rows10>(depth, a, aStride, b, bStride, target); break;
            case 11: Run<V, S, TLayout, Rows11>(depth, a, aStride, b, bStride, target); break;
            default: Run<V, S, TLayout, Rows12>(depth, a, aStride, b, bStride, target); break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Run<V, S, TLayout, TRows>(long depth, float* a, long aStride, float* b, long bStride, in TileTarget target)
        where V : unmanaged where S : ISimd<V> where TLayout : IRowLayout where TRows : IRowCount
    {
        float* c = target.C;
        long ldc = target.Stride;
        // The tile of C is needed only after the loop: fetched now, it arrives in time.
        if (Sse.IsSupported)
        {
            float* line = c;
            for (int row = 0; row < TRows.Count; row++, line += ldc)
            {
                Sse.Prefetch0(line);
                Sse.Prefetch0(line + 2 * S.Width - 1);
            }
        }

        V c00 = S.Zero, c01 = S.Zero, c10 = S.Zero, c11 = S.Zero, c20 = S.Zero, c21 = S.Zero, c30 = S.Zero, c31 = S.Zero;
        V c40 = S.Zero, c41 = S.Zero, c50 = S.Zero, c51 = S.Zero, c60 = S.Zero, c61 = S.Zero, c70 = S.Zero, c71 = S.Zero;
        V c80 = S.Zero, c81 = S.Zero, c90 = S.Zero, c91 = S.Zero, cA0 = S.Zero, cA1 = S.Zero, cB0 = S.Zero, cB1 = S.Zero;

        // Four row pointers and two offsets reach 12 rows without running out of address registers.
        float* p0 = a, p3 = a + 3 * aStride, p6 = a + 6 * aStride, p9 = a + 9 * aStride;
        long one = TLayout.Interleaved ? 1 : aStride, two = 2 * one, step = TLayout.Interleaved ? aStride : 1;
        for (long k = depth; k > 0; k--)
        {
            V b0 = S.Load(b), b1 = S.Load(b + S.Width);
            b += bStride;
            V x = S.Set(p0[0]);
            c00 = S.Fma(x, b0, c00); c01 = S.Fma(x, b1, c01);
            if (TRows.Count > 1) { x = S.Set(TLayout.Interleaved ? p0[1] : p0[one]); c10 = S.Fma(x, b0, c10); c11 = S.Fma(x, b1, c11); }
            if (TRows.Count > 2) { x = S.Set(TLayout.Interleaved ? p0[2] : p0[two]); c20 = S.Fma(x, b0, c20); c21 = S.Fma(x, b1, c21); }
            if (TRows.Count > 3) { x = S.Set(TLayout.Interleaved ? p0[3] : p3[0]); c30 = S.Fma(x, b0, c30); c31 = S.Fma(x, b1, c31); }
            if (TRows.Count > 4) { x = S.Set(TLayout.Interleaved ? p0[4] : p3[one]); c40 = S.Fma(x, b0, c40); c41 = S.Fma(x, b1, c41); }
            if (TRows.Count > 5) { x = S.Set(TLayout.Interleaved ? p0[5] : p3[two]); c50 = S.Fma(x, b0, c50); c51 = S.Fma(x, b1, c51); }
            if (TRows.Count > 6) { x = S.Set(TLayout.Interleaved ? p0[6] : p6[0]); c60 = S.Fma(x, b0, c60); c61 = S.Fma(x, b1, c61); }
            if (TRows.Count > 7) { x = S.Set(TLayout.Interleaved ? p0[7] : p6[one]); c70 = S.Fma(x, b0, c70); c71 = S.Fma(x, b1, c71); }
            if (TRows.Count > 8) { x = S.Set(TLayout.Interleaved ? p0[8] : p6[two]); c80 = S.Fma(x, b0, c80); c81 = S.Fma(x, b1, c81); }
            if (TRows.Count > 9) { x = S.Set(TLayout.Interleaved ? p0[9] : p9[0]); c90 = S.Fma(x, b0, c90); c91 = S.Fma(x, b1, c91); }
            if (TRows.Count > 10) { x = S.Set(TLayout.Interleaved ? p0[10] : p9[one]); cA0 = S.Fma(x, b0, cA0); cA1 = S.Fma(x, b1, cA1); }
            if (TRows.Count > 11) { x = S.Set(TLayout.Interleaved ? p0[11] : p9[two]); cB0 = S.Fma(x, b0, cB0); cB1 = S.Fma(x, b1, cB1); }
            p0 += step;
            if (!TLayout.Interleaved && TRows.Count > 3) p3 += step;
            if (!TLayout.Interleaved && TRows.Count > 6) p6 += step;
            if (!TLayout.Interleaved && TRows.Count > 9) p9 += step;
        }

        V alpha = S.Set(target.Alpha), beta = S.Set(target.Beta);
        bool accumulate = target.Accumulate;
        float* bias = target.Bias;
        Store<V, S>(c, c00, c01, alpha, beta, accumulate, bias);
        if (TRows.Count > 1) Store<V, S>(c += ldc, c10, c11, alpha, beta, accumulate, bias);
        if (TRows.Count > 2) Store<V, S>(c += ldc, c20, c21, alpha, beta, accumulate, bias);
        if (TRows.Count > 3) Store<V, S>(c += ldc, c30, c31, alpha, beta, accumulate, bias);
        if (TRows.Count > 4) Store<V, S>(c += ldc, c40, c41, alpha, beta, accumulate, bias);
        if (TRows.Count > 5) Store<V, S>(c += ldc, c50, c51, alpha, beta, accumulate, bias);
        if (TRows.Count > 6) Store<V, S>(c += ldc, c60, c61, alpha, beta, accumulate, bias);
        if (TRows.Count > 7) Store<V, S>(c += ldc, c70, c71, alpha, beta, accumulate, bias);
        if (TRows.Count > 8) Store<V, S>(c += ldc, c80, c81, alpha, beta, accumulate, bias);
        if (TRows.Count > 9) Store<V, S>(c += ldc, c90, c91, alpha, beta, accumulate, bias);
        if (TRows.Count > 10) Store<V, S>(c += ldc, cA0, cA1, alpha, beta, accumulate, bias);
        if (TRows.Count > 11) Store<V, S>(c + ldc, cB0, cB1, alpha, beta, accumulate, bias);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<V, S>(float* c, V left, V right, V alpha, V beta, bool accumulate, float* bias)
        where V : unmanaged where S : ISimd<V>
    {
        if (accumulate)
        {
            left = S.Fma(alpha, left, S.Multiply(beta, S.Load(c)));
            right = S.Fma(alpha, right, S.Multiply(beta, S.Load(c + S.Width)));
        }
        else
        {
            left = S.Multiply(alpha, left);
            right = S.Multiply(alpha, right);
        }
        if (bias != null)
        {
            left = S.Add(left, S.Load(bias));
            right = S.Add(right, S.Load(bias + S.Width));
        }
        S.Store(c, left);
        S.Store(c + S.Width, right);
    }
}
