using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Varlen.Backends.Cpu;

/// <summary>
/// The CPU's matrix product. The bits of a row of C depend on that row of op(A), of C, on B and on the machine's instruction
/// set alone: not on M, the other rows, or the number of threads.
/// </summary>
internal static unsafe class Gemm
{
    // Below this a second thread costs more than it brings.
    private const double SecondsPerWorker = 10e-6;
    private const double FlopsPerSecond = 100e9;
    private const double BytesPerSecond = 20e9;

    /// <summary>Computes C = Alpha * op(A) op(B) + Beta * C + Bias.</summary>
    /// <param name="team">Threads to use, as many as the work is worth.</param>
    /// <param name="a">The operands; sizes may be 0.</param>
    /// <exception cref="ArgumentOutOfRangeException">A size is negative, or a row is longer than its leading dimension.</exception>
    /// <exception cref="ArgumentException">The element types do not go together.</exception>
    internal static void Run(ThreadTeam team, in GemmArguments a)
    {
        Check(a);
        if (a.M == 0 || a.N == 0) return;
        GemmArguments arguments = a;
        if (a.Alpha == 0) arguments.K = 0;
        if (a.CType == DType.Float64) DoubleProduct.Run(team, arguments, Workers(team, arguments));
        else if (Vector512.IsHardwareAccelerated) Run<Vector512<float>, Simd512>(team, arguments);
        else if (Vector256.IsHardwareAccelerated && Fma.IsSupported) Run<Vector256<float>, Simd256>(team, arguments);
        else Run<Vector128<float>, Simd128>(team, arguments);
    }

    private static void Run<V, S>(ThreadTeam team, in GemmArguments a) where V : unmanaged where S : ISimd<V>
    {
        var product = new Product<V, S>(a, Bias(a, Product<V, S>.TileColumns));
        int workers = Workers(team, a);
        if (a.K == 0 || a.M <= 2 * Product<V, S>.TileRows) RunNarrow(team, a, product, workers);
        else RunBlocked(team, a, product, workers);
    }

    private static void RunNarrow<V, S>(ThreadTeam team, in GemmArguments a, in Product<V, S> product, int workers)
        where V : unmanaged where S : ISimd<V>
    {
        long tiles = (a.N + Product<V, S>.TileColumns - 1) / Product<V, S>.TileColumns;
        // Long items for one worker, but several each when there are more workers.
        long items = Math.Max((tiles + NarrowProduct<V, S>.GroupTiles - 1) / NarrowProduct<V, S>.GroupTiles, Math.Min(tiles, 4L * (workers - 1)));
        var narrow = new NarrowProduct<V, S>
        {
            Product = product, A = (float*)a.A, AStride = a.LdA, Interleaved = a.TransposeA, Groups = EvenSplit.Into(tiles, items),
        };
        if (!product.LeftIsFloat)
        {
            // A few rows, converted once, in the layout they have.
            long lines = a.TransposeA ? a.K : a.M, width = a.TransposeA ? a.M : a.K;
            narrow.A = NativeScratch.Rent<float>(ScratchUse.ProductLeft, lines * width);
            narrow.AStride = width;
            for (long line = 0; line < lines; line++)
                TileStore.Load(a.AType, (byte*)a.A + line * a.LdA * a.AType.Size(), 0, 1, (int)width, narrow.A + line * width, 0);
        }
        team.For(items, ref narrow, workers);
    }

    private static void RunBlocked<V, S>(ThreadTeam team, in GemmArguments a, in Product<V, S> product, int workers)
        where V : unmanaged where S : ISimd<V>
    {
        long buffer = BlockedProduct<V, S>.RightBuffer(a.N, a.K);
        var blocked = new BlockedProduct<V, S>
        {
            Team = team,
            Product = product,
            // In place, A costs nothing to prepare, but its rows are far apart; a product wide enough earns the packing back.
            PackLeft = !product.LeftIsFloat || a.N >= 256 || (a.TransposeA && a.LdA > 512),
            Right = NativeScratch.Rent<float>(ScratchUse.ProductRight, 2 * buffer),
        };
        if (product.ResultIsStaged && a.K > Product<V, S>.DepthBlock)
        {
            blocked.Stage = NativeScratch.Rent<float>(
                ScratchUse.ProductStage, Math.Min(a.M, BlockedProduct<V, S>.StagedRows) * BlockedProduct<V, S>.ColumnBlock);
        }
        team.Run(ref blocked, workers);
    }

    private static float* Bias(in GemmArguments a, int unit)
    {
        if (a.Bias == null) return null;
        float* bias = NativeScratch.Rent<float>(ScratchUse.ProductBias, a.N + unit);
        if (a.BiasType == DType.Float64)
        {
            for (long column = 0; column < a.N; column++) bias[column] = (float)((double*)a.Bias)[column];
        }
        else
        {
            TileStore.Load(a.BiasType, a.Bias, 0, 1, checked((int)a.N), bias, 0);
        }
        new Span<float>(bias + a.N, unit).Clear();
        return bias;
    }

    private static int Workers(ThreadTeam team, in GemmArguments a)
    {
        double flops = 2.0 * a.M * a.N * a.K;
        double bytes = (double)a.M * a.K * a.AType.Size() + (double)a.K * a.N * a.BType.Size() + (double)a.M * a.N * a.CType.Size();
        double seconds = Math.Max(flops / FlopsPerSecond, bytes / BytesPerSecond);
        return (int)Math.Clamp(seconds / SecondsPerWorker, 1, team.Size);
    }

    private static void Check(in GemmArguments a)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(a.M);
        ArgumentOutOfRangeException.ThrowIfNegative(a.N);
        ArgumentOutOfRangeException.ThrowIfNegative(a.K);
        ArgumentOutOfRangeException.ThrowIfLessThan(a.LdA, a.TransposeA ? a.M : a.K);
        ArgumentOutOfRangeException.ThrowIfLessThan(a.LdB, a.TransposeB ? a.K : a.N);
        ArgumentOutOfRangeException.ThrowIfLessThan(a.LdC, a.N);
        bool reference = a.CType == DType.Float64;
        if (!a.AType.IsFloatingPoint() || !a.BType.IsFloatingPoint() || !a.CType.IsFloatingPoint()
            || (a.Bias != null && !a.BiasType.IsFloatingPoint())
            || (a.AType == DType.Float64) != reference || (a.BType == DType.Float64) != reference)
        {
            throw new ArgumentException(
                $"element types A {a.AType}, B {a.BType}, C {a.CType}, bias {a.BiasType} do not go together: " +
                "either A, B and C are all Float64, or each is Float32, BFloat16 or Float16", nameof(a));
        }
    }
}
