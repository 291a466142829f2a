using System.Diagnostics;
using System.Runtime.InteropServices;
using Varlen.Backends.Cpu;
using Varlen.Backends.Cpu.Attention;

namespace Varlen.Cli.Benchmarks;

/// <summary>What to time.</summary>
internal enum AttentionBenchmarkMode
{
    /// <summary>The forward pass only.</summary>
    Forward,
    /// <summary>Forward and backward pass, each timed for itself.</summary>
    Backward,
}

/// <summary>
/// One measured workload. Floating-point operations count visible scores only: 4 * dim for each forward, 2.5 times that backward.
/// Ratios are shares of the arithmetic peak measured right beside each repetition, and all figures are medians.
/// </summary>
internal sealed record AttentionBenchmarkRow(
    string Workload, int QueryHeads, int KeyHeads, int HeadDim, string Window, DType DType, int Threads, long Tokens,
    double PeakGflops, double ForwardMs, double ForwardGflops, double ForwardRatio, double BestForwardRatio,
    double? BackwardMs, double? BackwardGflops, double? BackwardRatio, double? BestBackwardRatio)
{
    /// <summary>Whether a GPU's portable kernels ran alone.</summary>
    public bool IsPortable { get; init; }
}

/// <summary>Times the CPU attention kernels on native buffers, without tensors or autograd around them.</summary>
internal static unsafe class AttentionBenchmark
{
    /// <summary>Times one workload.</summary>
    /// <param name="workload">Its name in the result.</param>
    /// <param name="lengths">Sequence lengths, of queries and keys alike.</param>
    /// <param name="queryHeads">Query heads.</param>
    /// <param name="keyHeads">Key heads; a divisor of <paramref name="queryHeads"/>.</param>
    /// <param name="headDim">Features of a head.</param>
    /// <param name="window">Visible keys.</param>
    /// <param name="dtype">Storage type; gradients have the same.</param>
    /// <param name="threads">Threads of the team.</param>
    /// <param name="repetitions">Timed repetitions; one more comes first to warm up.</param>
    /// <param name="mode">What to time.</param>
    /// <param name="peak">Measures the machine's peak with these threads, in GFLOP/s; called before each timing.</param>
    internal static AttentionBenchmarkRow Run(string workload, IReadOnlyList<int> lengths, int queryHeads, int keyHeads, int headDim,
        AttentionWindow window, DType dtype, int threads, int repetitions, AttentionBenchmarkMode mode, Func<ThreadTeam, int, double> peak)
    {
        using var team = new ThreadTeam(threads);
        AttentionSequence[] sequences = Sequences(lengths, out long tokens);
        double operations = 4.0 * headDim * queryHeads * VisiblePairs(lengths, window);
        var buffers = new List<nint>();
        List<double> peaks = [], forward = [], forwardRatios = [], backward = [], backwardRatios = [];
        try
        {
            AttentionOperand Rows(int heads, bool random) => Allocate(buffers, tokens, heads, headDim, dtype, random);
            AttentionOperand q = Rows(queryHeads, true), k = Rows(keyHeads, true), v = Rows(keyHeads, true), dOutput = Rows(queryHeads, true);
            AttentionOperand output = Rows(queryHeads, false), dQ = Rows(queryHeads, false), dK = Rows(keyHeads, false), dV = Rows(keyHeads, false);
            AttentionOperand lse = Allocate(buffers, tokens * queryHeads, 1, 1, DType.Float32, false);
            (lse.TokenStride, lse.HeadStride) = (1, tokens);
            fixed (AttentionSequence* first = sequences)
            {
                var problem = new AttentionProblem
                {
                    QueryHeads = queryHeads, KeyHeads = keyHeads, HeadDim = headDim, Sequences = first, SequenceCount = sequences.Length,
                    Window = window, Scale = 1 / Math.Sqrt(headDim),
                };
                for (int repetition = 0; repetition <= repetitions; repetition++)
                {
                    double before = peak(team, threads);
                    long start = Stopwatch.GetTimestamp();
                    CpuAttention.Forward(team, problem, q, k, v, output, lse);
                    double forwardSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
                    double between = peak(team, threads), after = between, backwardSeconds = 0;
                    if (mode == AttentionBenchmarkMode.Backward)
                    {
                        start = Stopwatch.GetTimestamp();
                        CpuAttention.Backward(team, problem, q, k, v, output, lse, dOutput, default, dQ, dK, dV);
                        backwardSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
                        after = peak(team, threads);
                    }
                    if (repetition == 0) continue;
                    peaks.Add((before + between) / 2);
                    forward.Add(forwardSeconds);
                    forwardRatios.Add(operations / forwardSeconds * 1e-9 / ((before + between) / 2));
                    if (mode != AttentionBenchmarkMode.Backward) continue;
                    backward.Add(backwardSeconds);
                    backwardRatios.Add(2.5 * operations / backwardSeconds * 1e-9 / ((between + after) / 2));
                }
            }
        }
        finally
        {
            foreach (nint buffer in buffers) NativeBlock.Free((void*)buffer);
        }
        bool both = mode == AttentionBenchmarkMode.Backward;
        return new AttentionBenchmarkRow(workload, queryHeads, keyHeads, headDim, $"{window.Left},{window.Right}", dtype, threads,
            tokens, Statistics.Median(peaks), Statistics.Median(forward) * 1e3, operations / Statistics.Median(forward) * 1e-9, Statistics.Median(forwardRatios), forwardRatios.Max(),
            both ? Statistics.Median(backward) * 1e3 : null, both ? 2.5 * operations / Statistics.Median(backward) * 1e-9 : null,
            both ? Statistics.Median(backwardRatios) : null, both ? backwardRatios.Max() : null);
    }

    private static AttentionSequence[] Sequences(IReadOnlyList<int> lengths, out long tokens)
    {
        var sequences = new AttentionSequence[lengths.Count];
        tokens = 0;
        for (int i = 0; i < sequences.Length; i++)
        {
            sequences[i] = new AttentionSequence { QueryToken = tokens, KeyToken = tokens, QueryLength = lengths[i], KeyLength = lengths[i] };
            tokens += lengths[i];
        }
        return sequences;
    }

    /// <summary>Pairs of a query and a key that it sees, of one head.</summary>
    internal static double VisiblePairs(IReadOnlyList<int> lengths, AttentionWindow window)
    {
        double pairs = 0;
        foreach (int length in lengths)
            for (int query = 0; query < length; query++)
            {
                (int first, int end) = window.Range(query, 0, length);
                pairs += end - first;
            }
        return pairs;
    }

    // Zeroed or random, so that no page is touched for the first time while the clock runs.
    private static AttentionOperand Allocate(List<nint> buffers, long tokens, int heads, int headDim, DType dtype, bool random)
    {
        long count = tokens * heads * headDim;
        byte* data = (byte*)NativeBlock.Allocate(Math.Max(count * dtype.Size(), 1));
        buffers.Add((nint)data);
        NativeMemory.Clear(data, (nuint)(count * dtype.Size()));
        var source = new Random(buffers.Count);
        for (long i = 0; i < count && random; i++)
        {
            float value = (2 * source.NextSingle()) - 1;
            if (dtype == DType.Float32) ((float*)data)[i] = value;
            else if (dtype == DType.BFloat16) ((BFloat16*)data)[i] = (BFloat16)value;
            else if (dtype == DType.Float16) ((Half*)data)[i] = (Half)value;
            else throw new ArgumentOutOfRangeException(nameof(dtype), dtype, "no fast kernel has this type; use Float32, BFloat16 or Float16");
        }
        return new AttentionOperand { Data = data, DType = dtype, TokenStride = (long)heads * headDim, HeadStride = headDim };
    }
}
