using Varlen.Autograd;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class AddNormTests
{
    [Theory]
    [InlineData(0, 4, true)]
    [InlineData(1, 1, true)]
    [InlineData(3, 5, false)]
    [InlineData(2, 67, true)]
    [InlineData(70, 3, false)]
    public void GradientsMatchFiniteDifferences(int rows, int features, bool centered)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor[] Inputs() => [Tensor.Randn([rows, features], 1, DType.Float64), Tensor.Randn([rows, features], 2, DType.Float64), Tensor.Randn([features], 3, DType.Float64)];
        // Both results, and each one alone: then the other brings no gradient.
        GradCheck.RunAll(x => { (Tensor sum, Tensor normed) = Run(x); return [sum, normed]; }, Inputs());
        GradCheck.Run(x => Run(x).Normed, Inputs());
        GradCheck.Run(x => Run([x[0], x[1], Tensor.Ones([features], DType.Float64)]).Sum, Inputs()[..2]);

        (Tensor Sum, Tensor Normed) Run(Tensor[] x) => centered ? F.AddLayerNorm(x[0], x[1], x[2]) : F.AddRmsNorm(x[0], x[1], x[2]);
    }

    [Theory]
    [InlineData(true, true)]
    [InlineData(true, false)]
    [InlineData(false, false)]
    public void WhatReadsTheNormRebuildsItInsteadOfKeepingIt(bool hasWeight, bool hasBias)
    {
        const int rows = 64, features = 32, bytes = 4 * rows * features;
        using TensorScope scope = TensorScope.Begin();
        Tensor residual = Tensor.Randn([rows, features], 1, requiresGrad: true), pending = Tensor.Randn([rows, features], 2);
        Tensor? weight = hasWeight ? Tensor.Randn([features], 3, requiresGrad: true) : null, bias = hasBias ? Tensor.Randn([features], 4, requiresGrad: true) : null;
        Tensor projection = Tensor.Randn([8, features], 5, requiresGrad: true), gradient = Tensor.Randn([rows, 8], 6);
        long before = MemoryDiagnostics.LiveBytes;
        Tensor output;
        using (TensorScope inner = TensorScope.Begin()) output = inner.Return(F.Linear(F.AddLayerNorm(residual, pending, weight, bias).Normed, projection));
        // The sum, two statistics a row, and the output.
        Assert.InRange(MemoryDiagnostics.LiveBytes - before, bytes, bytes + bytes / 2);
        output.Backward(gradient);

        using GradMode.Region off = GradMode.NoGrad();
        Numeric.AssertSameBits(F.MatMul(gradient.Transpose(0, 1), F.AddLayerNorm(residual, pending, weight, bias).Normed), projection.Grad!);
    }

    [Fact]
    public void OneTensorMayBeBothSummands()
    {
        using TensorScope scope = TensorScope.Begin();
        GradCheck.RunAll(
            x =>
            {
                Tensor inner = F.RmsNorm(x[0], x[1]);
                (Tensor sum, Tensor normed) = F.AddLayerNorm(inner, inner, x[1], x[2]);
                return [sum, normed];
            },
            [Tensor.Randn([4, 7], 1, DType.Float64), Tensor.Randn([7], 2, DType.Float64), Tensor.Randn([7], 3, DType.Float64)]);
    }

    [Fact]
    public void SlicesOfOneTensorMayBeTheSummands()
    {
        using TensorScope scope = TensorScope.Begin();
        GradCheck.RunAll(
            x =>
            {
                Tensor[] halves = F.RmsNorm(x[0], x[1]).Chunk(2);
                (Tensor sum, Tensor normed) = F.AddRmsNorm(halves[0], halves[1], null);
                return [sum, normed, halves[0]];
            },
            [Tensor.Randn([4, 6], 1, DType.Float64), Tensor.Randn([6], 2, DType.Float64)]);
    }

    [Theory]
    [InlineData(DType.Float64)]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void EqualsAdditionThenNormBitForBit(DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor a = Tensor.Randn([33, 131], 1, dtype), b = Tensor.Randn([33, 131], 2, dtype), w = Tensor.Randn([131], 3, dtype), shift = Tensor.Randn([131], 4, dtype);
        double[] sums = [.. a.ToArray<double>().Zip(b.ToArray<double>(), (x, y) => dtype == DType.Float64 ? x + y : (float)x + (float)y)];
        Tensor sum = Tensor.From(sums, [33, 131]).To(dtype: dtype);
        (Tensor layerSum, Tensor layer) = F.AddLayerNorm(a, b, w, shift);
        (Tensor rmsSum, Tensor rms) = F.AddRmsNorm(a, b, w);
        Numeric.AssertSameBits(sum, layerSum);
        Numeric.AssertSameBits(sum, rmsSum);
        Numeric.AssertSameBits(F.LayerNorm(sum, w, shift), layer);
        Numeric.AssertSameBits(F.RmsNorm(sum, w), rms);
    }

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    public void AResidualStreamIsOneGradientBuffer(DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor[] w = [.. Enumerable.Range(0, 7).Select(i => Tensor.Randn([24], (ulong)i, dtype, requiresGrad: true))];
        Tensor first = Tensor.Randn([6, 24], 8, dtype, requiresGrad: true), second = Tensor.Randn([6, 24], 9, dtype, requiresGrad: true);
        (Tensor residual, Tensor normed) = F.AddLayerNorm(F.RmsNorm(first, w[0]), F.RmsNorm(second, w[1]), w[2]);
        (residual, normed) = F.AddLayerNorm(residual, F.RmsNorm(normed, w[3]), w[4]);
        (_, normed) = F.AddLayerNorm(residual, F.RmsNorm(normed, w[5]), w[6]);
        (long buffers, long copies, long fills, long adds) = (GradientStatistics.Buffers, GradientStatistics.Copies, GradientStatistics.ZeroFills, GradientStatistics.StandaloneAdds);
        normed.Backward(Tensor.Randn([6, 24], 10, dtype));
        Assert.Equal(0, GradientStatistics.Copies - copies);
        Assert.Equal(0, GradientStatistics.ZeroFills - fills);
        Assert.Equal(0, GradientStatistics.StandaloneAdds - adds);
        // The leaves' nine, the last result's, which becomes the residual stream's, and that of each branch's input.
        Assert.Equal(9 + 1 + 2, GradientStatistics.Buffers - buffers);
    }

    [Fact]
    public void RefusesSummandsThatDiffer()
    {
        using TensorScope scope = TensorScope.Begin();
        var e = Assert.Throws<ArgumentException>(() => F.AddLayerNorm(Tensor.Ones([2, 3]), Tensor.Ones([3])));
        Assert.Contains("AddLayerNorm: shape [3] does not fit residual [2, 3]", e.Message, StringComparison.Ordinal);
        Assert.Equal("pending", e.ParamName);
        Assert.Equal("pending", Assert.Throws<ArgumentException>(() => F.AddRmsNorm(Tensor.Ones([2, 3]), Tensor.Ones([2, 3], DType.Float16), null)).ParamName);
    }

    [Theory]
    [InlineData(DType.Float32, 0, 8, true)]
    [InlineData(DType.Float32, 13, 67, true)]
    [InlineData(DType.Float32, 13, 768, false)]
    [InlineData(DType.BFloat16, 40, 1024, true)]
    [InlineData(DType.BFloat16, 3, 1100, false)]
    [InlineData(DType.Float16, 7, 256, true)]
    public void CudaMatchesDoublePrecision(DType dtype, int rows, int features, bool centered)
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        Tensor[] inputs = [Tensor.Randn([rows, features], 1, DType.Float64), Tensor.Randn([rows, features], 2, DType.Float64), Tensor.Randn([features], 3, DType.Float64)];
        Tensor[] Run(Tensor[] x)
        {
            (Tensor sum, Tensor normed) = centered ? F.AddLayerNorm(x[0], x[1], x[2]) : F.AddRmsNorm(x[0], x[1], x[2]);
            return [sum, normed];
        }
        DeviceCheck.RunAll(cuda, dtype, Run, inputs);
    }

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void CudaEqualsAdditionThenNormBitForBit(DType dtype)
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        foreach (int features in (int[])[131, 256, 1320])
        {
            Tensor a = Tensor.Randn([5, features], 1, dtype), b = Tensor.Randn([5, features], 2, dtype), w = Tensor.Randn([features], 3, dtype).To(cuda), shift = Tensor.Randn([features], 4, dtype).To(cuda);
            (Tensor expected, _) = F.AddLayerNorm(a, b);
            (Tensor layerSum, Tensor layer) = F.AddLayerNorm(a.To(cuda), b.To(cuda), w, shift);
            (Tensor rmsSum, Tensor rms) = F.AddRmsNorm(a.To(cuda), b.To(cuda), w);
            Numeric.AssertSameBits(expected, layerSum.To(Device.Cpu));
            Numeric.AssertSameBits(expected, rmsSum.To(Device.Cpu));
            Numeric.AssertSameBits(F.LayerNorm(layerSum, w, shift).To(Device.Cpu), layer.To(Device.Cpu));
            Numeric.AssertSameBits(F.RmsNorm(layerSum, w).To(Device.Cpu), rms.To(Device.Cpu));
        }
    }

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    public void CudaKeepsAResidualStreamInOneGradientBuffer(DType dtype)
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        (Tensor Hidden, Tensor[] Leaves) Run(DType type, Device device)
        {
            Tensor Leaf(ulong seed, Shape shape)
            {
                Tensor leaf = Tensor.Randn(shape, seed, dtype).To(dtype: type).To(device).Clone();
                leaf.RequiresGrad = true;
                return leaf;
            }
            Tensor[] leaves = [Leaf(1, [6, 24]), Leaf(2, [6, 24]), Leaf(3, [24]), Leaf(4, [24]), Leaf(5, [24])];
            (Tensor residual, Tensor normed) = F.AddLayerNorm(F.RmsNorm(leaves[0], leaves[2]), leaves[1], leaves[3]);
            (residual, normed) = F.AddLayerNorm(residual, F.RmsNorm(normed, leaves[4]), leaves[2]);
            normed.Backward(Tensor.Randn([6, 24], 10, dtype).To(dtype: type).To(device));
            return (normed.Detach(), leaves);
        }
        (Tensor expected, Tensor[] exact) = Run(DType.Float64, Device.Cpu);
        (Tensor actual, Tensor[] leaves) = Run(dtype, cuda);
        Numeric.AssertClose(expected, actual, dtype == DType.Float32 ? null : 0.06);
        for (int i = 0; i < leaves.Length; i++) Numeric.AssertClose(exact[i].Grad!, leaves[i].Grad!, dtype == DType.Float32 ? 1e-4 : 0.15);
    }
}
