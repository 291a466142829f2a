using System.Diagnostics;
using Varlen.Backends.Cpu;

namespace Varlen.Cli.Benchmarks;

/// <summary>One measured matrix product.</summary>
/// <param name="Layout">NN, NT (B transposed: a linear layer's forward) or TN (A transposed: its weight gradient).</param>
/// <param name="M">Rows of the result.</param>
/// <param name="N">Columns of the result.</param>
/// <param name="K">Length of a dot product.</param>
/// <param name="Threads">Threads that could take part.</param>
/// <param name="Milliseconds">Median over the rounds.</param>
/// <param name="Gflops">Rate at that median.</param>
/// <param name="Ratio">Median share of the peak measured next to it, see <see cref="PeakFma"/>.</param>
/// <param name="BestRatio">Fastest sample as a share of the best peak of the whole run: what an undisturbed machine gives.</param>
internal sealed record MatMulRow(string Layout, int M, int N, int K, int Threads, double Milliseconds, double Gflops, double Ratio, double BestRatio);

/// <summary>All rows of a benchmark.</summary>
/// <param name="Rows">One per shape.</param>
/// <param name="PeakGflops">Median of the peaks measured in between.</param>
/// <param name="GeometricMeanRatio">Of the median ratios.</param>
/// <param name="GeometricMeanBestRatio">Of the best ratios.</param>
internal sealed record MatMulResult(IReadOnlyList<MatMulRow> Rows, double PeakGflops, double GeometricMeanRatio, double GeometricMeanBestRatio);

/// <summary>
/// Single-precision matrix products of a small Transformer: batches of 512, 1000 and 4096 tokens through layers of usual
/// widths, forward (NT), backward (NN) and weight gradients (TN).
/// </summary>
internal static unsafe class MatMulBenchmark
{
    // Long enough to outweigh a scheduler tick, short enough that the peak next to it was measured on the same machine.
    private const double SecondsPerSample = 0.004;
    private const int ShapesPerPeak = 3;

    /// <summary>The shapes: square layers of four widths and the two of a feed-forward block, forward, backward and weight gradient each.</summary>
    internal static IEnumerable<(string Layout, int M, int N, int K)> Shapes()
    {
        foreach (int width in (int[])[128, 384, 512, 1024])
            foreach (int tokens in (int[])[512, 4096])
                foreach (var shape in Layer(tokens, width, width)) yield return shape;
        foreach ((int input, int output) in new[] { (1024, 4096), (4096, 1024) })
            foreach (int tokens in (int[])[512, 4096])
                foreach (var shape in Layer(tokens, input, output)) yield return shape;
        foreach (var shape in Layer(1000, 1024, 1024)) yield return shape;
    }

    /// <summary>Times every shape.</summary>
    /// <param name="threads">Threads to use, at least 1.</param>
    /// <param name="rounds">Passes over all shapes, at least 1.</param>
    internal static MatMulResult Run(int threads, int rounds = 7) => Run(threads, rounds, Shapes());

    /// <summary>Times the given shapes.</summary>
    internal static MatMulResult Run(int threads, int rounds, IEnumerable<(string Layout, int M, int N, int K)> shapes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(rounds, 1);
        using var team = new ThreadTeam(threads);
        Case[] cases = shapes.Select(shape => new Case(shape.Layout, shape.M, shape.N, shape.K)).ToArray();
        var peaks = new List<double>();
        long largest = cases.Max(c => Math.Max(Math.Max((long)c.M * c.K, (long)c.K * c.N), (long)c.M * c.N));
        float* memory = (float*)NativeBlock.Allocate(3 * largest * sizeof(float), 4096);
        try
        {
            var random = new Random(1);
            for (long i = 0; i < 3 * largest; i++) memory[i] = random.NextSingle() - 0.5f;
            for (int i = 0; i < 20; i++) PeakFma.Measure(team, threads);
            // The first round, uncounted, compiles and touches everything.
            for (int round = -1; round < rounds; round++)
            {
                for (int first = 0; first < cases.Length; first += ShapesPerPeak)
                {
                    int end = Math.Min(first + ShapesPerPeak, cases.Length);
                    double before = PeakFma.Measure(team, threads);
                    for (int i = first; i < end; i++) cases[i].Sample(team, memory, memory + largest, memory + 2 * largest, round >= 0);
                    double peak = Math.Max(before, PeakFma.Measure(team, threads));
                    if (round < 0) continue;
                    peaks.Add(peak);
                    for (int i = first; i < end; i++) cases[i].Ratios.Add(cases[i].Flops / cases[i].Seconds[^1] * 1e-9 / peak);
                }
            }
        }
        finally
        {
            NativeBlock.Free(memory);
        }
        MatMulRow[] rows = cases.Select(c => c.Row(threads, peaks.Max())).ToArray();
        return new(rows, Statistics.Median(peaks), Statistics.GeometricMean(rows.Select(row => row.Ratio)), Statistics.GeometricMean(rows.Select(row => row.BestRatio)));
    }

    private static IEnumerable<(string Layout, int M, int N, int K)> Layer(int tokens, int input, int output)
    {
        yield return ("NN", tokens, input, output);
        yield return ("NT", tokens, output, input);
        yield return ("TN", input, output, tokens);
    }

    private sealed class Case(string layout, int m, int n, int k)
    {
        internal int M => m;
        internal int N => n;
        internal int K => k;
        internal double Flops => 2.0 * m * n * k;
        internal List<double> Seconds { get; } = [];
        internal List<double> Ratios { get; } = [];

        internal void Sample(ThreadTeam team, float* a, float* b, float* c, bool count)
        {
            bool transposeA = layout[0] == 'T', transposeB = layout[1] == 'T';
            GemmArguments product = GemmArguments.Float32(
                transposeA, transposeB, m, n, k, a, transposeA ? m : k, b, transposeB ? k : n, c, n);
            // Once for the caches: the sample is about the product, not about what ran before it.
            Gemm.Run(team, product);
            int calls = 0;
            long start = Stopwatch.GetTimestamp();
            double seconds;
            do
            {
                Gemm.Run(team, product);
                calls++;
                seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            }
            while (seconds < SecondsPerSample);
            if (count) Seconds.Add(seconds / calls);
        }

        internal MatMulRow Row(int threads, double bestPeak)
        {
            double seconds = Statistics.Median(Seconds);
            return new(layout, m, n, k, threads, seconds * 1e3, Flops / seconds * 1e-9, Statistics.Median(Ratios), Flops / Seconds.Min() * 1e-9 / bestPeak);
        }
    }
}
