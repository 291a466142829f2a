using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Varlen.Backends.Cpu;

namespace Varlen.Cli.Benchmarks;

/// <summary>
/// The arithmetic peak of this machine at this moment: a loop of 16 independent fused multiply-adds on registers.
/// Every CPU figure is stated as a share of it, because clocks and neighbours change from minute to minute.
/// </summary>
internal static class PeakFma
{
    private const int Accumulators = 16;
    private const int Passes = 20_000;

    /// <summary>Measures once, for about a millisecond.</summary>
    /// <param name="team">Whose threads run the loop.</param>
    /// <param name="threads">How many of them, 1 to the team's size.</param>
    /// <returns>Single-precision GFLOP/s of all threads together.</returns>
    internal static double Measure(ThreadTeam team, int threads)
    {
        int width = Vector512.IsHardwareAccelerated ? Simd512.Width : Vector256.IsHardwareAccelerated ? Simd256.Width : Simd128.Width;
        var body = new Loop();
        long start = Stopwatch.GetTimestamp();
        team.Run(ref body, threads);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        return 2.0 * Accumulators * width * Passes * threads / seconds * 1e-9;
    }

    private struct Loop : IParallelBody
    {
        private float _sink;

        public void Invoke(int worker, int workers)
        {
            float sum = Vector512.IsHardwareAccelerated ? Spin<Vector512<float>, Simd512>(Passes, 0.999f)
                : Vector256.IsHardwareAccelerated ? Spin<Vector256<float>, Simd256>(Passes, 0.999f)
                : Spin<Vector128<float>, Simd128>(Passes, 0.999f);
            if (worker == 0) _sink = sum;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static unsafe float Spin<V, S>(int passes, float factor) where V : unmanaged where S : ISimd<V>
    {
        V x = S.Set(factor), y = S.Set(1f - factor);
        V a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x, l = x, m = x, n = x, o = x, p = x;
        for (int pass = 0; pass < passes; pass++)
        {
            a = S.Fma(a, x, y); b = S.Fma(b, x, y); c = S.Fma(c, x, y); d = S.Fma(d, x, y);
            e = S.Fma(e, x, y); f = S.Fma(f, x, y); g = S.Fma(g, x, y); h = S.Fma(h, x, y);
            i = S.Fma(i, x, y); j = S.Fma(j, x, y); k = S.Fma(k, x, y); l = S.Fma(l, x, y);
            m = S.Fma(m, x, y); n = S.Fma(n, x, y); o = S.Fma(o, x, y); p = S.Fma(p, x, y);
        }
        V sum = S.Add(S.Add(S.Add(S.Add(a, b), S.Add(c, d)), S.Add(S.Add(e, f), S.Add(g, h))),
            S.Add(S.Add(S.Add(i, j), S.Add(k, l)), S.Add(S.Add(m, n), S.Add(o, p))));
        float* lanes = stackalloc float[16];
        S.Store(lanes, sum);
        return lanes[0];
    }
}
