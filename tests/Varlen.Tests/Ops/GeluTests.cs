using Varlen.Nn;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class GeluTests
{
    public static TheoryData<GeluForm, int, int> Cases()
    {
        var data = new TheoryData<GeluForm, int, int>();
        foreach (GeluForm form in Enum.GetValues<GeluForm>())
            foreach ((int rows, int features) in (ReadOnlySpan<(int, int)>)[(0, 4), (1, 1), (3, 5), (2, 67), (70, 3), (3, 0)]) data.Add(form, rows, features);
        return data;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void GradientsMatchFiniteDifferences(GeluForm form, int rows, int features)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([rows, features], 1, DType.Float64), b = Tensor.Randn([features], 2, DType.Float64);
        GradCheck.Run(t => F.Gelu(t[0], approximate: form), [x.Clone()]);
        GradCheck.Run(t => F.Gelu(t[0], t[1], form), [x.Clone(), b.Clone()]);
        Tensor constant = b.Detach();
        GradCheck.Run(t => F.Gelu(t[0], constant, form), [x.Clone()]);
        Tensor fixedInput = x.Detach();
        GradCheck.Run(t => F.Gelu(fixedInput, t[0], form), [b.Clone()]);
    }

    [Fact]
    public void GradientsOfSlicesLandInTheirBase()
    {
        using TensorScope scope = TensorScope.Begin();
        GradCheck.Run(t => F.Gelu(t[0].Chunk(2)[1], t[1]) + F.Gelu(t[0].Chunk(2)[0]), [Tensor.Randn([5, 12], 3, DType.Float64), Tensor.Randn([6], 4, DType.Float64)]);
    }

    /// <summary>Exact values: x times the normal distribution's cumulative function, from tables of erf and erfc to 17 digits.</summary>
    [Theory]
    [InlineData(-10, -7.61985302416052607e-23)]
    [InlineData(-5, -1.43325785939596956e-6)]
    [InlineData(-1, -0.15865525393145705)]
    [InlineData(-0.25, -0.100323418579269069)]
    [InlineData(0, 0)]
    [InlineData(0.25, 0.149676581420730931)]
    [InlineData(1, 0.84134474606854295)]
    [InlineData(3, 2.99595030590510972)]
    [InlineData(10, 10)]
    public void ExactValues(double x, double expected)
    {
        using TensorScope scope = TensorScope.Begin();
        double y = F.Gelu(Tensor.From([x], [1])).Item(), single = F.Gelu(Tensor.From([(float)x], [1])).Item();
        Assert.True(Math.Abs(y - expected) <= 2e-15 * Math.Abs(expected), $"{y:R} for {expected:R}");
        Assert.True(Math.Abs(single - expected) <= 6e-6 * Math.Abs(expected), $"{single:R} for {expected:R}");
    }

    [Theory]
    [InlineData(GeluForm.Exact)]
    [InlineData(GeluForm.Tanh)]
    public void SinglePrecisionIsWithinAMillionth(GeluForm form)
    {
        using TensorScope scope = TensorScope.Begin();
        float[] x = [.. Enumerable.Range(-20000, 40001).Select(i => i * 1e-3f)];
        double[] expected = F.Gelu(Tensor.From(x, [x.Length]).To(dtype: DType.Float64), approximate: form).ToArray<double>();
        float[] y = F.Gelu(Tensor.From(x, [x.Length]), approximate: form).ToArray<float>();
        for (int i = 0; i < x.Length; i++)
            Assert.True(Math.Abs(y[i] - expected[i]) <= 4e-7 * Math.Max(1, Math.Abs(expected[i])), $"gelu({x[i]}): expected {expected[i]:R}, got {y[i]:R}");
    }

    [Fact]
    public void TheTanhFormIsItsFormula()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([1000], 5, DType.Float64);
        double[] expected = [.. x.ToArray<double>().Select(v => 0.5 * v * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (v + 0.044715 * v * v * v))))];
        Numeric.AssertClose(Tensor.From(expected, [1000]), F.Gelu(x, approximate: GeluForm.Tanh));
    }

    [Theory]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void SixteenBitTypesMatchDoublePrecision(DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([33, 130], 6, dtype), b = Tensor.Randn([130], 7, dtype), dy = Tensor.Randn([33, 130], 8, dtype);
        (Tensor y, Tensor dx, Tensor db) = Run(x, b, dy);
        (Tensor y64, Tensor dx64, Tensor db64) = Run(x.To(dtype: DType.Float64), b.To(dtype: DType.Float64), dy.To(dtype: DType.Float64));
        Numeric.AssertClose(y64, y);
        Numeric.AssertClose(dx64, dx);
        Numeric.AssertClose(db64, db);
    }

    [Theory]
    [MemberData(nameof(TestDevices.AllWithTypes), MemberType = typeof(TestDevices))]
    public void MatchesTheReferenceOnEveryDevice(string device, DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        Device place = TestDevices.Get(device);
        foreach (GeluForm form in Enum.GetValues<GeluForm>())
        {
            foreach ((int rows, int features) in (ReadOnlySpan<(int, int)>)[(0, 4), (1, 1), (3, 5), (2, 67), (70, 3), (3, 0), (33, 64), (5, 1040), (300, 8)])
            {
                Tensor x = Tensor.Randn([rows, features], 1), b = Tensor.Randn([features], 2);
                DeviceCheck.Run(place, dtype, t => F.Gelu(t[0], approximate: form), [x]);
                DeviceCheck.Run(place, dtype, t => F.Gelu(t[0], t[1], form), [x, b], roundings: 3);
                DeviceCheck.Run(place, dtype, t => F.Gelu(t[0], b.To(t[0].Device, t[0].DType), form), [x]);
                DeviceCheck.Run(place, dtype, t => F.Gelu(x.To(dtype: dtype).To(t[0].Device, t[0].DType), t[0], form), [b], roundings: 3);
            }
            Tensor wide = Tensor.Randn([5, 48], 3), narrow = Tensor.Randn([24], 4);
            DeviceCheck.Run(place, dtype, t => F.Gelu(t[0].Chunk(2)[1], t[1], form), [wide, narrow], roundings: 3);
            DeviceCheck.Run(place, dtype, t => F.Gelu(t[0].Narrow(1, 3, 24), t[1], form), [wide, narrow], roundings: 3);
            DeviceCheck.Run(place, dtype, t => F.Gelu(t[0].Transpose(0, 1), t[1], form), [Tensor.Randn([24, 7], 5), narrow], roundings: 3);
        }
    }

    [Theory]
    [InlineData(GeluForm.Exact, DType.Float32)]
    [InlineData(GeluForm.Exact, DType.BFloat16)]
    [InlineData(GeluForm.Exact, DType.Float16)]
    [InlineData(GeluForm.Tanh, DType.Float32)]
    [InlineData(GeluForm.Tanh, DType.BFloat16)]
    [InlineData(GeluForm.Tanh, DType.Float16)]
    public void IsAccurateEverywhereOnCuda(GeluForm form, DType dtype)
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.From(Enumerable.Range(-2000, 4001).Select(i => i * 5e-3f).ToArray(), [4001]).To(dtype: dtype);
        Tensor exact = x.To(dtype: DType.Float64).Clone(), onDevice = x.To(cuda).Clone();
        exact.RequiresGrad = onDevice.RequiresGrad = true;
        Tensor expected = F.Gelu(exact, approximate: form), actual = F.Gelu(onDevice, approximate: form);
        expected.Backward(Tensor.Ones([4001], DType.Float64));
        actual.Backward(Tensor.Ones([4001], dtype, cuda));
        // Half a unit in the last place where rounding is all that may be seen, a quarter of it for the approximation; and for the slope, two terms
        // that cancel where it crosses zero.
        (double unit, double least) = dtype == DType.BFloat16 ? (1.0 / 256, 1e-38) : dtype == DType.Float16 ? (1.0 / 2048, 6e-8) : (4e-7, 4e-7);
        Check(expected, actual, 0);
        Check(exact.Grad!, onDevice.Grad!, dtype == DType.Float32 ? 2e-6 : 2e-5);

        void Check(Tensor reference, Tensor result, double cancelled)
        {
            double[] e = reference.ToArray<double>(), a = result.ToArray<double>(), at = x.ToArray<double>();
            for (int i = 0; i < e.Length; i++)
                Assert.True(Math.Abs(e[i] - a[i]) <= 1.25 * unit * Math.Abs(e[i]) + least + cancelled, $"at {at[i]:R}: expected {e[i]:R}, got {a[i]:R}");
        }
    }

    [Theory]
    [InlineData(GeluForm.Exact, "cpu", DType.Float64)]
    [InlineData(GeluForm.Exact, "cpu", DType.Float32)]
    [InlineData(GeluForm.Exact, "cuda", DType.Float32)]
    [InlineData(GeluForm.Exact, "cuda", DType.BFloat16)]
    [InlineData(GeluForm.Tanh, "cpu", DType.Float64)]
    [InlineData(GeluForm.Tanh, "cpu", DType.Float32)]
    [InlineData(GeluForm.Tanh, "cuda", DType.Float32)]
    [InlineData(GeluForm.Tanh, "cuda", DType.BFloat16)]
    public void NotANumberAndInfinity(GeluForm form, string device, DType dtype)
    {
        Device place = TestDevices.Get(device);
        using TensorScope scope = TensorScope.Begin();
        double[] y = F.Gelu(Tensor.From([double.NaN, double.PositiveInfinity, 1e30, -1e30, double.NegativeInfinity], [5]).To(place, dtype), approximate: form).ToArray<double>();
        Assert.Equal([double.NaN, double.PositiveInfinity], y[..2]);
        Assert.Equal(1e30, y[2], dtype == DType.BFloat16 ? 4e27 : 1e23);
        Assert.Equal(0, y[3]);
        Assert.Equal(double.NaN, y[4]);
    }

    [Fact]
    public void TheResultIsRebuiltInsteadOfSaved()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([9, 6], 9, DType.Float64), w = Tensor.Randn([4, 6], 10, DType.Float64), b = Tensor.Randn([6], 11, DType.Float64);
        GradCheck.Run(t => F.Linear(F.Gelu(t[0], t[2]), t[1]), [x, w, b]);
        Tensor wide = Tensor.Randn([1000, 100], 12, requiresGrad: true), thin = Tensor.Randn([1, 100], 13, requiresGrad: true);
        long before = MemoryDiagnostics.LiveBytes;
        Tensor y;
        using (TensorScope inner = TensorScope.Begin()) y = inner.Return(F.Linear(F.Gelu(wide), thin));
        Assert.InRange(MemoryDiagnostics.LiveBytes - before, 4000, 10000);
        y.Backward(Tensor.Ones([1000, 1]));
        Tensor expected = F.Gelu(wide.Detach()).Sum([0], keepDimensions: true);
        Numeric.AssertClose(expected.To(dtype: DType.Float64), thin.Grad!);
    }

    [Fact]
    public void BitsDoNotDependOnThreads()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([301, 517], 14), b = Tensor.Randn([517], 15), dy = Tensor.Randn([301, 517], 16);
        Threads.AssertSameBits(() =>
        {
            (Tensor y, Tensor dx, Tensor db) = Run(x, b, dy);
            return [y, dx, db];
        });
    }

    [Fact]
    public void RefusesABiasOfAnotherWidth()
    {
        using TensorScope scope = TensorScope.Begin();
        var e = Assert.Throws<ArgumentException>(() => F.Gelu(Tensor.Ones([2, 3]), Tensor.Ones([4])));
        Assert.Contains("Gelu: shape [4] does not fit input [2, 3]; expected [3]", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void LeavesNothingBehind()
        => Memory.AssertReleasesAll(() =>
        {
            using TensorScope scope = TensorScope.Begin();
            Run(Tensor.Randn([5, 7], 17), Tensor.Randn([7], 18), Tensor.Ones([5, 7]));
        });

    private static (Tensor Output, Tensor InputGradient, Tensor BiasGradient) Run(Tensor x, Tensor b, Tensor dy)
    {
        (x, b) = (x.Clone(), b.Clone());
        x.RequiresGrad = b.RequiresGrad = true;
        Tensor y = F.Gelu(x, b);
        y.Backward(dy);
        return (y, x.Grad!, b.Grad!);
    }
}
