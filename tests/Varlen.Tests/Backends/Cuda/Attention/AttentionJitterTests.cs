using Varlen.Backends.Cuda;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Backends.Cuda.Attention;

/// <summary>Kernels whose warps sleep at random: a missing barrier changes bits from one repetition to the next.</summary>
public sealed class AttentionJitterTests
{
    [Theory]
    [InlineData(32, DType.BFloat16)]
    [InlineData(64, DType.BFloat16)]
    [InlineData(128, DType.Float16)]
    [InlineData(64, DType.Float32)]
    public void RepetitionsHaveTheSameBits(int dim, DType dtype)
    {
        Device device = TestDevices.Cuda();
        var backend = (CudaBackend)device.Backend;
        using TensorScope scope = TensorScope.Begin();
        int[] lengths = TestDevices.IsSlow ? [70, 17, 0, 140] : [700, 17, 0, 1030, 65, 33, 300];
        int total = lengths.Sum(), repetitions = TestDevices.IsSlow ? 2 : 1000;
        Tensor[] values = [.. Enumerable.Range(1, 4).Select(seed => Tensor.Randn([total, 2, dim], (ulong)seed, dtype, device))];
        using SequenceLayout layout = SequenceLayout.FromLengths(lengths);
        Tensor[] expected = Run();
        backend.Kernels.Jitters = true;
        try
        {
            for (int i = 0; i < repetitions; i++)
            {
                using TensorScope inner = TensorScope.Begin();
                Tensor[] actual = Run();
                // The differences' squares come down to one number on the device; NaN is no zero either.
                Tensor differences = F.Concat([.. actual.Select((result, r) => (result - expected[r]).Reshape(-1))]);
                Assert.True(F.Max(differences * differences).Item() == 0, $"a result of repetition {i} differs");
            }
        }
        finally
        {
            backend.Kernels.Jitters = false;
        }

        Tensor[] Run()
        {
            Tensor[] leaves = [.. values[..3].Select(x => x.Clone())];
            foreach (Tensor leaf in leaves) leaf.RequiresGrad = true;
            Tensor y = F.VarlenAttention(leaves[0], leaves[1], leaves[2], layout, layout, new AttentionOptions { Window = AttentionWindow.Causal, Deterministic = true });
            y.Backward(values[3]);
            return [y.Detach(), .. leaves.Select(leaf => leaf.Grad!.Clone())];
        }
    }

    /// <summary>The default backward of compute capability 9.0 adds in any order, but nothing is lost: results agree up to rounding.</summary>
    [Theory]
    [InlineData(64)]
    [InlineData(128)]
    public void AtomicSumsLoseNothing(int dim)
    {
        Device device = TestDevices.Cuda();
        var backend = (CudaBackend)device.Backend;
        backend.Kernels.Jitters = true;
        try
        {
            for (int i = 0; i < (TestDevices.IsSlow ? 1 : 20); i++)
                new AttentionCase { DType = DType.BFloat16, Dim = dim, Lengths = [(300, 300), (70, 140), (129, 127)], QueryHeads = 2, KeyHeads = 1, Window = AttentionWindow.Causal, Seed = i }.AssertMatchesReference();
        }
        finally
        {
            backend.Kernels.Jitters = false;
        }
    }
}
