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

    public static TheoryData<DType, int, int> CudaShapes { get; } = new(
        from dtype in (DType[])[DType.Float32, DType.BFloat16, DType.Float16]
        from shape in ((int, int)[])[(0, 4), (1, 1), (5, 3), (37, 64), (3, 67), (21, 1024), (2, 1030), (3, 2048)]
        select (dtype, shape.Item1, shape.Item2));

    [Theory]
    [MemberData(nameof(CudaShapes))]
    public void CudaMatchesDoublePrecision(DType dtype, int rows, int features)
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([rows, features], 1, DType.Float64), w = Tensor.Randn([features], 2, DType.Float64), b = Tensor.Randn([features], 3, DType.Float64);
        DeviceCheck.RunAll(cuda, dtype, t => [F.LayerNorm(t[0], t[1], t[2])], x, w, b);
        DeviceCheck.RunAll(cuda, dtype, t => [F.LayerNorm(t[0])], x);
        DeviceCheck.RunAll(cuda, dtype, t => [F.LayerNorm(t[0], bias: t[1])], x, b);
    }

    [Theory]
    [InlineData(DType.Float32, 8200)]
    [InlineData(DType.BFloat16, 8200)]
    [InlineData(DType.BFloat16, 33000)]
    public void CudaTakesLongRows(DType dtype, int features)
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([2, features], 1, DType.Float64), w = Tensor.Randn([features], 2, DType.Float64), b = Tensor.Randn([features], 3, DType.Float64);
        DeviceCheck.RunAll(cuda, dtype, t => [F.LayerNorm(t[0], t[1], t[2])], x, w, b);
    }

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    public void CudaBitsOfARowDependOnThatRowAlone(DType dtype)
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        foreach (int features in (int[])[65, 256, 1536])
        {
            Tensor x = Tensor.Randn([19, features], 1, dtype).To(cuda), w = Tensor.Randn([features], 2, dtype).To(cuda), dy = Tensor.Randn([19, features], 3, dtype).To(cuda);
            (Tensor all, Tensor allGradient) = Run(x, dy);
            // Not at a multiple of 16 bytes when the features are odd.
            (Tensor part, Tensor partGradient) = Run(x.Narrow(0, 7, 3), dy.Narrow(0, 7, 3).Clone());
            Numeric.AssertSameBits(all.Narrow(0, 7, 3).Clone().To(Device.Cpu), part.To(Device.Cpu));
            Numeric.AssertSameBits(allGradient.Narrow(0, 7, 3).Clone().To(Device.Cpu), partGradient.To(Device.Cpu));

            (Tensor, Tensor) Run(Tensor input, Tensor gradient)
            {
                Tensor leaf = input.Detach();
                leaf.RequiresGrad = true;
                Tensor y = F.LayerNorm(leaf, w);
                y.Backward(gradient);
                return (y.Detach(), leaf.Grad!);
            }
        }
    }

    [Fact]
    public void CudaKeepsItsPrecisionFarFromZero()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.From([.. Enumerable.Range(0, 1024).Select(i => 4096f + i % 7)], [1, 1024]);
        Numeric.AssertClose(F.LayerNorm(x.To(dtype: DType.Float64)), F.LayerNorm(x.To(cuda)));
    }

    [Fact]
    public void CudaNonFiniteRowsStayByThemselves()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([5, 19], 1), clean = F.LayerNorm(x.To(cuda)).To(Device.Cpu);
        x.Narrow(0, 2, 1).Fill(double.NaN);
        x.Narrow(0, 4, 1).Fill(double.PositiveInfinity);
        double[] dirty = F.LayerNorm(x.To(cuda)).ToArray<double>(), expected = clean.ToArray<double>();
        for (int i = 0; i < dirty.Length; i++)
            if (i / 19 is 2 or 4) Assert.True(double.IsNaN(dirty[i]));
            else Assert.Equal(expected[i], dirty[i]);
    }

    [Fact]
    public void CudaRefusesDoublePrecision()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        var e = Assert.Throws<NotSupportedException>(() => F.LayerNorm(Tensor.Ones([2, 3], DType.Float64).To(cuda)));
        Assert.Contains("Norm: Float64 is the reference precision", e.Message, StringComparison.Ordinal);
    }
}
