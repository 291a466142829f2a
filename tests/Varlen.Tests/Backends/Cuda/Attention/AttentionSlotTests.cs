using Varlen.Data;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Backends.Cuda.Attention;

/// <summary>Lists in a slot have a fixed size and place: other batches in them give the bits that they give by themselves.</summary>
public sealed class AttentionSlotTests
{
    private static readonly int[][] Batches = [[40, 16, 1, 17, 70, 33], [100, 3], [64, 64], [2, 2, 2, 2, 2, 2, 2, 2], [65, 30]];

    [Theory]
    [InlineData(DType.BFloat16, 32, true)]
    [InlineData(DType.Float16, 64, true)]
    [InlineData(DType.Float32, 32, true)]
    [InlineData(DType.BFloat16, 64, false)]
    [InlineData(DType.Float16, 128, false)]
    public void A_slot_takes_one_batch_after_the_other(DType dtype, int dim, bool deterministic)
    {
        Device device = TestDevices.Cuda();
        // Else the portable backward pass in one go, whose sums for the queries have no fixed order.
        using PortableKernels? only = deterministic ? null : new(device);
        using TensorScope scope = TensorScope.Begin();
        Tensor covered = Tensor.Zeros([1], DType.Int32, device);
        using var slot = new LayoutSlot(new BatchLimits(200, 8), 100, isSelf: true, covered);
        foreach (int[] lengths in Batches)
        {
            using SequenceLayout layout = SequenceLayout.FromLengths(lengths);
            covered.CopyFrom(Tensor.From([layout.TotalTokens], [1], device));
            double[][] alone = Run(layout), placed = Run(slot.Set(layout, layout).Queries);
            for (int i = 0; i < alone.Length; i++)
                if (deterministic || i != 1) Assert.Equal(alone[i], placed[i]);
                else
                    for (int j = 0; j < alone[i].Length; j++) Assert.Equal(alone[i][j], placed[i][j], 1.0 / 64 * Math.Max(1, Math.Abs(alone[i][j])));
        }

        double[][] Run(SequenceLayout layout)
        {
            Tensor[] leaves = [.. Enumerable.Range(1, 3).Select(seed => Tensor.Randn([layout.TotalTokens, 2, dim], (ulong)seed, dtype, device))];
            foreach (Tensor leaf in leaves) leaf.RequiresGrad = true;
            Tensor y = F.VarlenAttention(leaves[0], leaves[1], leaves[2], layout, layout, new AttentionOptions { Window = AttentionWindow.Causal, Deterministic = deterministic });
            y.Backward(Tensor.Randn(y.Shape, 4, dtype, device));
            return [y.ToArray<double>(), .. leaves.Select(leaf => leaf.Grad!.ToArray<double>())];
        }
    }
}
