using Varlen.Autograd;
using Varlen.Nn;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class LinearTests
{
    [Theory]
    [InlineData(0, 4, 3, true, WeightLayout.OutIn)]
    [InlineData(1, 1, 1, true, WeightLayout.InOut)]
    [InlineData(5, 7, 3, true, WeightLayout.OutIn)]
    [InlineData(5, 7, 3, false, WeightLayout.InOut)]
    [InlineData(70, 2, 5, true, WeightLayout.InOut)]
    public void GradientsMatchFiniteDifferences(int rows, int features, int outputs, bool bias, WeightLayout layout)
    {
        using TensorScope scope = TensorScope.Begin();
        Shape weight = layout == WeightLayout.OutIn ? [outputs, features] : [features, outputs];
        List<Tensor> inputs = [Tensor.Randn([rows, features], 1, DType.Float64), Tensor.Randn(weight, 2, DType.Float64)];
        if (bias) inputs.Add(Tensor.Randn([outputs], 3, DType.Float64));
        GradCheck.Run(x => F.Linear(x[0], x[1], bias ? x[2] : null, layout), [.. inputs]);
    }

    [Fact]
    public void TakesAnyNumberOfLeadingDimensions()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([2, 3, 4, 5], 1), w = Tensor.Randn([7, 5], 2);
        Tensor y = F.Linear(x, w);
        Assert.Equal([2, 3, 4, 7], y.Shape);
        Numeric.AssertSameBits(F.Linear(x.View(24, 5), w), y.View(24, 7));
        Assert.Equal([7], F.Linear(x.View(120).Narrow(0, 0, 5), w).Shape);
    }

    [Theory]
    [InlineData(DType.Float64)]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void MatchesTheDefinition(DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([31, 66], 1, dtype), w = Tensor.Randn([45, 66], 2, dtype), b = Tensor.Randn([45], 3, dtype);
        double[] xs = x.ToArray<double>(), ws = w.ToArray<double>(), expected = new double[31 * 45];
        for (int i = 0; i < expected.Length; i++)
        {
            expected[i] = b.ToArray<double>()[i % 45];
            for (int k = 0; k < 66; k++) expected[i] += xs[i / 45 * 66 + k] * ws[i % 45 * 66 + k];
        }
        Tensor reference = Tensor.From(expected, [31, 45]);
        Numeric.AssertClose(reference, F.Linear(x, w, b));
        Numeric.AssertClose(reference, F.Linear(x, w.Transpose(0, 1).Contiguous(), b, WeightLayout.InOut));
    }

    [Theory]
    [MemberData(nameof(TestDevices.AllWithTypes), MemberType = typeof(TestDevices))]
    public void ValuesAndGradientsMatchDoublePrecision(string device, DType dtype)
    {
        Device on = TestDevices.Get(device);
        foreach ((int rows, int features, int outputs) in ((int, int, int)[])[(0, 4, 3), (1, 1, 1), (5, 7, 3), (31, 66, 45), (70, 16, 24), (33, 64, 65)])
        {
            foreach (WeightLayout layout in Enum.GetValues<WeightLayout>())
            {
                foreach (bool bias in (bool[])[false, true])
                {
                    using TensorScope scope = TensorScope.Begin();
                    Tensor x = Leaf([rows, features + 2], 1), w = Leaf(layout == WeightLayout.OutIn ? [outputs, features] : [features, outputs], 2), b = Leaf([outputs], 3);
                    Tensor gradient = Tensor.Randn([rows, outputs], 4, dtype);
                    Tensor[] leaves = [x, w, b], moved = [.. leaves.Select(leaf => Moved(leaf))];
                    // Twice: the second pass adds to the first one's gradients.
                    for (int pass = 0; pass < 2; pass++)
                    {
                        Tensor expected = F.Linear(x.Narrow(1, 1, features), w, bias ? b : null, layout), actual = F.Linear(moved[0].Narrow(1, 1, features), moved[1], bias ? moved[2] : null, layout);
                        expected.Backward(gradient.To(dtype: DType.Float64));
                        actual.Backward(gradient.To(on));
                        Numeric.AssertClose(expected, actual.To(Device.Cpu));
                    }
                    for (int i = 0; i < (bias ? 3 : 2); i++) Numeric.AssertClose(leaves[i].Grad!, moved[i].Grad!.To(Device.Cpu));
                }
            }
        }

        Tensor Leaf(Shape shape, ulong seed)
        {
            Tensor leaf = Tensor.Randn(shape, seed, dtype).To(dtype: DType.Float64);
            leaf.RequiresGrad = true;
            return leaf;
        }

        Tensor Moved(Tensor leaf)
        {
            using var region = GradMode.NoGrad();
            Tensor tensor = leaf.To(dtype: dtype).To(on);
            tensor.RequiresGrad = true;
            return tensor;
        }
    }

    [Fact]
    public void ChunksOfAProjectionShareOneGradientBuffer()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([6, 4], 1, requiresGrad: true), w = Tensor.Randn([9, 4], 2, requiresGrad: true);
        Tensor[] heads = [.. Enumerable.Range(3, 3).Select(i => Tensor.Randn([2, 3], (ulong)i, requiresGrad: true))];
        Tensor[] chunks = F.Linear(x, w).Chunk(3);
        Tensor[] outputs = [.. chunks.Zip(heads, (chunk, head) => F.Linear(chunk, head))];
        (long buffers, long copies, long fills, long adds) = (GradientStatistics.Buffers, GradientStatistics.Copies, GradientStatistics.ZeroFills, GradientStatistics.StandaloneAdds);
        Sum(outputs).Backward();
        Assert.Equal((0, 0, 0), (GradientStatistics.Copies - copies, GradientStatistics.ZeroFills - fills, GradientStatistics.StandaloneAdds - adds));
        // Five leaves, the root, and one for all three chunks; the outputs take over what the sum hands them.
        Assert.Equal(5 + 1 + 1, GradientStatistics.Buffers - buffers);
    }

    [Fact]
    public void ARecipeIsRebuiltInsteadOfKept()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([5, 3], 1), w = Tensor.Randn([2, 3], 2, requiresGrad: true), expected = Tensor.Randn([2, 3], 2, requiresGrad: true);
        Tensor activated = F.RmsNorm(x, null), plain = F.RmsNorm(x, null);
        int rebuilt = 0;
        activated.Recipe = Recipe.From(sources =>
        {
            rebuilt++;
            return F.RmsNorm(sources[0], null);
        }, x);
        Tensor y = F.Linear(activated, w);
        activated.Dispose();
        Tensor gradient = Tensor.Randn([5, 2], 3);
        y.Backward(gradient);
        F.Linear(plain, expected).Backward(gradient);
        Assert.Equal(1, rebuilt);
        Numeric.AssertSameBits(expected.Grad!, w.Grad!);
    }

    [Theory]
    [MemberData(nameof(TestDevices.All), MemberType = typeof(TestDevices))]
    public void ParametersGatherSinglePrecisionUnder16BitTypes(string device)
    {
        Device on = TestDevices.Get(device);
        using var layer = new Parameter(Tensor.Randn([4, 6], 1));
        layer.To(on, DType.BFloat16);
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([9, 6], 2, DType.BFloat16), gradient = Tensor.Randn([9, 4], 3, DType.BFloat16);
        for (int pass = 1; pass <= 2; pass++)
        {
            F.Linear(x.To(on), layer).Backward(gradient.To(on));
            Tensor expected = F.MatMul(gradient.To(dtype: DType.Float64).Transpose(0, 1), x.To(dtype: DType.Float64));
            double[] scaled = [.. expected.ToArray<double>().Select(value => value * pass)];
            Assert.Equal(DType.Float32, layer.Grad!.DType);
            Numeric.AssertClose(Tensor.From(scaled, [4, 6]), layer.Grad.To(Device.Cpu));
        }
    }

    [Fact]
    public void ReleasesItsMemory() => Memory.AssertReleasesAll(() =>
    {
        using TensorScope scope = TensorScope.Begin();
        F.Linear(Tensor.Randn([5, 3], 1, requiresGrad: true), Tensor.Randn([2, 3], 2, requiresGrad: true)).Backward(Tensor.Ones([5, 2]));
    });

    [Fact]
    public void RefusesWhatDoesNotFit()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Ones([2, 3]), w = Tensor.Ones([4, 3]);
        var e = Assert.Throws<ArgumentException>(() => F.Linear(x, w, layout: WeightLayout.InOut));
        Assert.Contains("Linear: shape [4, 3] does not fit input [2, 3]; expected [3, out]", e.Message, StringComparison.Ordinal);
        Assert.Equal("weight", e.ParamName);
        e = Assert.Throws<ArgumentException>(() => F.Linear(x, w, Tensor.Ones([3])));
        Assert.Contains("shape [3] does not fit weight [4, 3]; expected [4]", e.Message, StringComparison.Ordinal);
        Assert.Equal("bias", e.ParamName);
        Assert.Equal("weight", Assert.Throws<ArgumentException>(() => F.Linear(x, Tensor.Ones([4, 3], DType.Float64))).ParamName);
    }

    private static Tensor Sum(Tensor[] parts)
        => Varlen.Ops.Op.Record("weighted sum", Tensor.Zeros([]), parts, [], pass =>
        {
            for (int i = 0; i < 3; i++) pass.PassThrough(i, Tensor.Randn([6, 2], (ulong)i));
        });
}
