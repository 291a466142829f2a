using Varlen.Autograd;
using Varlen.Backends.Cuda;
using Varlen.Nn;
using Varlen.Ops;
using F = Varlen.Nn.Functional;

namespace Varlen.Cli.Benchmarks;

/// <summary>Times the attention kernels of a CUDA device, as launched by the op and without autograd around them; by events, several launches in a row.</summary>
internal static class CudaAttentionBenchmark
{
    /// <summary>Times one workload; the arguments are those of <see cref="AttentionBenchmark.Run"/>, and whether all kernels but the portable ones are left out.</summary>
    /// <remarks>The peak is what cuBLASLt's matrix product of a large square reaches in the same type, on the same clock.</remarks>
    public static AttentionBenchmarkRow Run(string workload, IReadOnlyList<int> lengths, int queryHeads, int keyHeads, int headDim, AttentionWindow window, DType dtype, int rounds, AttentionBenchmarkMode mode, Device device, bool portable)
    {
        var backend = (CudaBackend)device.Backend;
        backend.PortableAttentionOnly = portable;
        using TensorScope scope = TensorScope.Begin();
        using GradMode.Region off = GradMode.NoGrad();
        using var timer = new CudaTimer(backend);
        using SequenceLayout layout = SequenceLayout.FromLengths([.. lengths], device);
        int tokens = layout.TotalTokens;
        Tensor Rows(int heads, ulong seed) => Tensor.Randn([tokens, heads, headDim], seed, dtype, device);
        Tensor q = Rows(queryHeads, 1), k = Rows(keyHeads, 2), v = Rows(keyHeads, 3), outputGradient = Rows(queryHeads, 4);
        Tensor output = Tensor.Empty(q.Shape, dtype, device), lse = Tensor.Empty([queryHeads, tokens], DType.Float32, device);
        Tensor dq = Tensor.Empty(q.Shape, dtype, device), dk = Tensor.Empty(k.Shape, dtype, device), dv = Tensor.Empty(v.Shape, dtype, device);
        var call = new AttentionCall(layout, layout, new AttentionOptions { Window = window, Deterministic = device.IsDeterministic }, 1 / Math.Sqrt(headDim));
        var kernels = (IAttentionKernels)device.Backend;

        double peak = DevicePeak.Measure(device, dtype);
        double operations = 4.0 * headDim * queryHeads * AttentionBenchmark.VisiblePairs(lengths, window);
        List<double> forward = DevicePeak.Time(timer, rounds, () => kernels.AttentionForward(call, q, k, v, null, output, lse));
        List<double>? backward = mode == AttentionBenchmarkMode.Forward ? null : DevicePeak.Time(timer, rounds, () => kernels.AttentionBackward(
            call, q, k, v, null, output, lse, outputGradient, null, new GradientTarget(dq, false), new GradientTarget(dk, false), new GradientTarget(dv, false)));
        double Rate(double factor, double milliseconds) => factor * operations / milliseconds * 1e-6;
        double forwardMs = Statistics.Median(forward);
        double? backwardMs = backward is null ? null : Statistics.Median(backward);
        return new AttentionBenchmarkRow(workload, queryHeads, keyHeads, headDim, $"{window.Left},{window.Right}", dtype, Device.CpuThreads, tokens, peak,
            forwardMs, Rate(1, forwardMs), Rate(1, forwardMs) / peak, Rate(1, forward.Min()) / peak,
            backwardMs, backwardMs is { } ms ? Rate(2.5, ms) : null, backwardMs is { } m ? Rate(2.5, m) / peak : null, backward is null ? null : Rate(2.5, backward.Min()) / peak)
        { IsPortable = portable };
    }
}
