using Varlen.Nn;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class EmbeddingTests
{
    [Theory]
    [InlineData(new long[] { }, null)]
    [InlineData(new long[] { 3 }, null)]
    [InlineData(new long[] { 1, 4, 1, 1, 0 }, null)]
    [InlineData(new long[] { 1, 4, 1, 1, 0 }, 1)]
    public void GradientsMatchFiniteDifferences(long[] ids, int? padding)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor tokens = Tensor.From(ids, [ids.Length]), positions = Tensor.From([.. Enumerable.Range(0, ids.Length).Select(i => i % 3)], [ids.Length]);
        Tensor weight = Tensor.Randn([5, 7], 1, DType.Float64);
        if (padding is null) GradCheck.Run(x => F.Embedding(x[0], tokens), [weight]);
        GradCheck.Run(x => F.EmbeddingSum(x[0], tokens, x[1], positions), [weight.Clone(), Tensor.Randn([3, 7], 2, DType.Float64)]);
    }

    [Fact]
    public void ThePaddingRowIsReadButTakesNoGradient()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor weight = Tensor.From([1.0, 2, 3, 4, 5, 6], [3, 2], requiresGrad: true), ids = Tensor.From([2, 1, 1, 2], [2, 2]);
        Tensor y = F.Embedding(weight, ids, paddingIndex: 1);
        Assert.Equal(new Shape(2, 2, 2), y.Shape);
        Assert.Equal([5, 6, 3, 4, 3, 4, 5, 6], y.ToArray<double>());
        y.Backward(Tensor.Full([2, 2, 2], 1, DType.Float64));
        Assert.Equal([0, 0, 0, 0, 2, 2], weight.Grad!.ToArray<double>());
        F.Embedding(weight, ids, paddingIndex: 1).Backward(Tensor.Full([2, 2, 2], double.NaN, DType.Float64));
        Assert.Equal([0, 0, 0, 0, double.NaN, double.NaN], weight.Grad!.ToArray<double>());
    }

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void GradientsMatchDoublePrecision(DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        var random = new Random(3);
        int[] values = [.. Enumerable.Range(0, 3000).Select(_ => random.Next(3) == 0 ? 17 : random.Next(90))];
        Tensor ids = Tensor.From(values, [3000]), dy = Tensor.Randn([3000, 600], 4, dtype);
        double[] g = dy.ToArray<double>();
        var expected = new double[100 * 600];
        for (int i = 0; i < g.Length; i++) expected[values[i / 600] * 600 + i % 600] += g[i];
        Tensor weight = Tensor.Randn([100, 600], 5, dtype, requiresGrad: true);
        Tensor y = F.Embedding(weight, ids);
        Assert.Equal(weight.ToArray<float>()[(values[7] * 600)..(values[7] * 600 + 600)], y.ToArray<float>()[4200..4800]);
        y.Backward(dy);
        Numeric.AssertClose(Tensor.From(expected, [100, 600]), weight.Grad!);
    }

    [Fact]
    public void MastersTakeTheirGradientInSinglePrecision()
    {
        using TensorScope scope = TensorScope.Begin();
        using Embedding layer = new Embedding(4, 3, paddingIndex: 2, seed: 6).To(Device.Cpu, DType.BFloat16);
        Tensor y = layer.Forward(Tensor.From([0L, 2, 0], [3]));
        Assert.Equal(DType.BFloat16, y.DType);
        Assert.Equal([0, 0, 0], y.ToArray<float>()[3..6]);
        y.Backward(Tensor.Full([3, 3], 0.25, DType.BFloat16));
        Assert.Equal(DType.Float32, layer.Weight.Grad!.DType);
        Assert.Equal([0.5f, 0.5f, 0.5f, 0, 0, 0, 0, 0, 0, 0, 0, 0], layer.Weight.Grad!.ToArray<float>());
        Assert.Equal(["weight"], layer.StateDict().Keys);
    }

    [Fact]
    public void TheInitialValuesAreNormal()
    {
        using TensorScope scope = TensorScope.Begin();
        using var layer = new Embedding(200, 100, seed: 8, std: 0.02);
        double[] values = layer.Weight.Master.ToArray<double>();
        Assert.Equal(0, values.Average(), 0.02 * 5 / Math.Sqrt(values.Length));
        Assert.Equal(0.02, Math.Sqrt(values.Average(v => v * v)), 0.02 * 5 / Math.Sqrt(2.0 * values.Length));
    }

    [Fact]
    public void BitsDoNotDependOnThreads()
    {
        using TensorScope scope = TensorScope.Begin();
        var random = new Random(9);
        Tensor ids = Tensor.From([.. Enumerable.Range(0, 2000).Select(_ => random.Next(40) * random.Next(2))], [2000]), dy = Tensor.Randn([2000, 65], 10), table = Tensor.Randn([40, 65], 11);
        Threads.AssertSameBits(() =>
        {
            Tensor weight = table.Clone();
            weight.RequiresGrad = true;
            Tensor y = F.Embedding(weight, ids);
            y.Backward(dy);
            return [y, weight.Grad!.Clone()];
        });
    }

    [Fact]
    public void NamesTheIdThatIsOutOfRange()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor weight = Tensor.Ones([5, 2]);
        var high = Assert.Throws<ArgumentOutOfRangeException>(() => F.Embedding(weight, Tensor.From([0L, 4, 5, 1], [4])));
        Assert.Contains("Embedding: element 2 of ids is 5, but the table [5, 2] has rows 0 to 4", high.Message, StringComparison.Ordinal);
        var low = Assert.Throws<ArgumentOutOfRangeException>(() => F.Embedding(weight, Tensor.From([0, -1], [2])));
        Assert.Contains("element 1 of ids is -1", low.Message, StringComparison.Ordinal);
        var wide = Assert.Throws<ArgumentOutOfRangeException>(() => F.Embedding(weight, Tensor.From([1L << 32], [1])));
        Assert.Contains("element 0 of ids is 4294967296", wide.Message, StringComparison.Ordinal);
        var position = Assert.Throws<ArgumentOutOfRangeException>(() => F.EmbeddingSum(weight, Tensor.From([0, 1], [2]), Tensor.Ones([3, 2]), Tensor.From([0, 3], [2])));
        Assert.Contains("EmbeddingSum: element 1 of positions is 3, but the table [3, 2] has rows 0 to 2", position.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void RefusesWhatDoesNotFit()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor weight = Tensor.Ones([5, 2]), ids = Tensor.From([0, 1], [2]);
        Assert.Throws<ArgumentException>(() => F.Embedding(Tensor.Ones([5]), ids));
        Assert.Throws<ArgumentException>(() => F.Embedding(weight, Tensor.Ones([2])));
        Assert.Throws<ArgumentOutOfRangeException>(() => F.Embedding(weight, ids, paddingIndex: 5));
        Assert.Contains("expected [positions, 2]", Assert.Throws<ArgumentException>(() => F.EmbeddingSum(weight, ids, Tensor.Ones([5, 3]), ids)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => F.EmbeddingSum(weight, ids, weight, Tensor.From([0], [1])));
        Assert.Throws<ArgumentOutOfRangeException>(() => new Embedding(0, 2));
        Assert.Throws<ArgumentOutOfRangeException>(() => new Embedding(2, 2, paddingIndex: -1));
    }

    [Fact]
    public void LeavesNothingBehind()
        => Memory.AssertReleasesAll(() =>
        {
            using TensorScope scope = TensorScope.Begin();
            Tensor weight = Tensor.Randn([5, 2], 12, requiresGrad: true);
            F.Embedding(weight, Tensor.From([0, 1, 1], [3])).Backward(Tensor.Ones([3, 2]));
        });

    [Theory]
    [InlineData(DType.Float32, 0, 5, 7)]
    [InlineData(DType.Float32, 1, 1, 1)]
    [InlineData(DType.Float32, 700, 5, 65)]
    [InlineData(DType.BFloat16, 500, 300, 64)]
    [InlineData(DType.Float16, 90, 70000, 8)]
    public void CudaMatchesDoublePrecision(DType dtype, int tokens, int rows, int features)
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        var random = new Random(5);
        // One id is frequent, so that its rows are summed in several runs.
        Tensor ids = Tensor.From([.. Enumerable.Range(0, tokens).Select(_ => random.Next(2) == 0 ? (long)(rows - 1) : random.Next(rows))], [tokens]);
        Tensor positions = Tensor.From([.. Enumerable.Range(0, tokens).Select(i => i % 3)], [tokens]), deviceIds = ids.To(cuda), devicePositions = positions.To(cuda);
        Tensor weight = Tensor.Randn([rows, features], 1, DType.Float64), positionWeight = Tensor.Randn([3, features], 2, DType.Float64);
        DeviceCheck.RunAll(cuda, dtype, t => [t[0].Device == cuda ? F.Embedding(t[0], deviceIds, paddingIndex: 0) : F.Embedding(t[0], ids, paddingIndex: 0)], weight);
        if (rows < 1000) DeviceCheck.RunAll(cuda, dtype, t => [t[0].Device == cuda ? F.EmbeddingSum(t[0], deviceIds, t[1], devicePositions) : F.EmbeddingSum(t[0], ids, t[1], positions)], weight, positionWeight);
    }

    [Fact]
    public void CudaAddsTokensInTheSameOrderEveryTime()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        var random = new Random(9);
        Tensor ids = Tensor.From([.. Enumerable.Range(0, 1100).Select(_ => random.Next(40) * random.Next(2))], [1100]).To(cuda), dy = Tensor.Randn([1100, 65], 10).To(cuda);
        Assert.Equal(Gradient(), Gradient());

        float[] Gradient()
        {
            Tensor weight = Tensor.Randn([40, 65], 11).To(cuda);
            weight.RequiresGrad = true;
            F.Embedding(weight, ids).Backward(dy);
            return weight.Grad!.ToArray<float>();
        }
    }

    [Fact]
    public void CudaMastersTakeTheirGradientInSinglePrecision()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        using Embedding layer = new Embedding(4, 8, paddingIndex: 2, seed: 6).To(cuda, DType.BFloat16);
        layer.Forward(Tensor.From([0L, 2, 0], [3]).To(cuda)).Backward(Tensor.Full([3, 8], 0.25, DType.BFloat16).To(cuda));
        Assert.Equal(DType.Float32, layer.Weight.Grad!.DType);
        Assert.Equal([.. Enumerable.Range(0, 32).Select(i => i < 8 ? 0.5f : 0)], layer.Weight.Grad!.ToArray<float>());
    }

    [Fact]
    public void CudaGivesNaNForIdsThatTheHostDidNotSee()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        Tensor weight = Tensor.Ones([3, 2]).To(cuda);
        weight.RequiresGrad = true;
        Tensor y = F.Embedding(weight, Tensor.From([0, 3, -1, 2], [4]).To(cuda));
        Assert.Equal([1, 1, float.NaN, float.NaN, float.NaN, float.NaN, 1, 1], y.ToArray<float>());
        y.Backward(Tensor.Ones([4, 2]).To(cuda));
        Assert.Equal([1, 1, 0, 0, 1, 1], weight.Grad!.ToArray<float>());
    }
}
