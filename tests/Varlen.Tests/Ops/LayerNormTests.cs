using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class LayerNormTests
{
    [Theory]
    [InlineData(0, 4, true, true)]
    [InlineData(1, 1, true, true)]
    [InlineData(3, 5, true, true)]
    [InlineData(2, 67, true, false)]
    [InlineData(3, 9, false, true)]
    [InlineData(130, 3, false, false)]
    public void GradientsMatchFiniteDifferences(int rows, int features, bool weight, bool bias)
    {
        using TensorScope scope = TensorScope.Begin();
        List<Tensor> inputs = [Tensor.Randn([rows, features], 1, DType.Float64)];
        if (weight) inputs.Add(Tensor.Randn([features], 2, DType.Float64));
        if (bias) inputs.Add(Tensor.Randn([features], 3, DType.Float64));
        GradCheck.Run(x => F.LayerNorm(x[0], weight ? x[1] : null, bias ? x[^1] : null), [.. inputs]);
    }

    [Theory]
    [InlineData(DType.Float64)]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void MatchesTheDefinition(DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        const int rows = 33, features = 131;
        Tensor x = Tensor.Randn([rows, features], 3, dtype), w = Tensor.Randn([features], 4, dtype), b = Tensor.Randn([features], 5, dtype);
        double[] xs = x.ToArray<double>(), ws = w.ToArray<double>(), bs = b.ToArray<double>(), expected = new double[xs.Length];
        for (int row = 0; row < rows; row++)
        {
            double[] values = xs[(row * features)..((row + 1) * features)];
            double mean = values.Average(), variance = values.Average(v => (v - mean) * (v - mean));
            for (int i = 0; i < features; i++) expected[row * features + i] = (values[i] - mean) / Math.Sqrt(variance + 1e-5) * ws[i] + bs[i];
        }
        Numeric.AssertClose(Tensor.From(expected, [rows, features]), F.LayerNorm(x, w, b));
    }

    [Fact]
    public void KeepsItsPrecisionFarFromZero()
    {
        using TensorScope scope = TensorScope.Begin();
        float[] values = [.. Enumerable.Range(0, 1024).Select(i => 4096f + i % 7)];
        Tensor x = Tensor.From(values, [1, 1024]);
        Numeric.AssertClose(F.LayerNorm(x.To(dtype: DType.Float64)), F.LayerNorm(x));
    }

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    public void BitsDoNotDependOnTheNumberOfThreads(DType dtype)
    {
        int before = Device.CpuThreads;
        try
        {
            List<Tensor[]> runs = [];
            using TensorScope scope = TensorScope.Begin();
            foreach (int threads in new[] { 1, 2, 3 })
            {
                Device.CpuThreads = threads;
                Tensor x = Tensor.Randn([515, 259], 1, dtype, requiresGrad: true), w = Tensor.Randn([259], 2, dtype, requiresGrad: true), b = Tensor.Randn([259], 3, dtype, requiresGrad: true);
                Tensor y = F.LayerNorm(x, w, b);
                y.Backward(Tensor.Randn([515, 259], 4, dtype));
                runs.Add([y, x.Grad!, w.Grad!, b.Grad!]);
            }
            foreach (Tensor[] run in runs.Skip(1))
                for (int i = 0; i < run.Length; i++) Numeric.AssertSameBits(runs[0][i], run[i]);
        }
        finally
        {
            Device.CpuThreads = before;
        }
    }

    [Fact]
    public void NonFiniteRowsStayByThemselves()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([5, 19], 1);
        double[] clean = F.LayerNorm(x).ToArray<double>();
        x.Narrow(0, 2, 1).Fill(double.NaN);
        x.Narrow(0, 4, 1).Fill(double.PositiveInfinity);
        double[] dirty = F.LayerNorm(x).ToArray<double>();
        for (int i = 0; i < clean.Length; i++)
            if (i / 19 is 2 or 4) Assert.True(double.IsNaN(dirty[i]));
            else Assert.Equal(clean[i], dirty[i]);
    }

    [Fact]
    public void ReleasesItsMemory() => Memory.AssertReleasesAll(() =>
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([70, 9], 1, requiresGrad: true);
        F.LayerNorm(x, Tensor.Ones([9], requiresGrad: true)).Backward(Tensor.Ones([70, 9]));
    });

    [Fact]
    public void RefusesWhatDoesNotFit()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Ones([2, 3]);
        var e = Assert.Throws<ArgumentException>(() => F.LayerNorm(x, bias: Tensor.Ones([4])));
        Assert.Contains("LayerNorm: shape [4] does not fit input [2, 3]; expected [3]", e.Message, StringComparison.Ordinal);
        Assert.Equal("bias", e.ParamName);
        Assert.Equal("weight", Assert.Throws<ArgumentException>(() => F.LayerNorm(x, Tensor.Ones([3], DType.BFloat16))).ParamName);
        Assert.Equal("input", Assert.Throws<ArgumentException>(() => F.LayerNorm(Tensor.Ones([2, 3], DType.Int32))).ParamName);
        Assert.Equal("input", Assert.Throws<ArgumentException>(() => F.LayerNorm(Tensor.Ones([]))).ParamName);
        Assert.Equal("epsilon", Assert.Throws<ArgumentException>(() => F.LayerNorm(x, epsilon: double.NaN)).ParamName);
    }
}
