using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Backends.Cuda.Attention;

/// <summary>Rows that lie more than 2^31 elements apart.</summary>
public sealed class AttentionOffsetTests
{
    [Theory]
    [InlineData(32)]
    [InlineData(64)]
    public void RowsFarApartHaveTheBitsOfRowsSideBySide(int dim)
    {
        Device device = TestDevices.RealCuda();
        using TensorScope scope = TensorScope.Begin();
        const int tokens = 600, width = 3_700_000;
        Tensor packed = Tensor.Randn([tokens, 3 * dim], 1, DType.BFloat16, device), gradient = Tensor.Randn([tokens, 1, dim], 2, DType.BFloat16, device);
        Tensor wide = Tensor.Empty([tokens, width], DType.BFloat16, device);
        Assert.True(wide.Count > int.MaxValue);
        wide.Narrow(1, width - 3 * dim, 3 * dim).CopyFrom(packed);
        using SequenceLayout layout = SequenceLayout.FromLengths([100, 20, 480]);
        (Tensor near, Tensor nearGradient) = Run(packed, 0);
        (Tensor far, Tensor farGradient) = Run(wide, width - 3 * dim);
        Numeric.AssertSameBits(near, far);
        Numeric.AssertSameBits(nearGradient, farGradient.Narrow(1, width - 3 * dim, 3 * dim).Clone());

        (Tensor Output, Tensor Gradient) Run(Tensor leaf, int start)
        {
            leaf.RequiresGrad = true;
            Tensor[] parts = [.. Enumerable.Range(0, 3).Select(i => leaf.Narrow(1, start + i * dim, dim).View(tokens, 1, dim))];
            Tensor y = F.VarlenAttention(parts[0], parts[1], parts[2], layout, layout, new AttentionOptions { Window = AttentionWindow.Causal, Deterministic = true });
            y.Backward(gradient);
            return (y.Detach(), leaf.Grad!);
        }
    }
}
