using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class UnaryTests
{
    private static readonly Dictionary<string, (Func<Tensor, Tensor> Op, Func<double, double> Reference, bool NeedsPositive)> Functions = new()
    {
        ["Exp"] = (F.Exp, Math.Exp, false),
        ["Log"] = (F.Log, Math.Log, true),
        ["Sqrt"] = (F.Sqrt, Math.Sqrt, true),
        ["Tanh"] = (F.Tanh, Math.Tanh, false),
        ["Sigmoid"] = (F.Sigmoid, x => 1 / (1 + Math.Exp(-x)), false),
        ["Relu"] = (F.Relu, x => Math.Max(0, x), false),
        ["Silu"] = (F.Silu, x => x / (1 + Math.Exp(-x)), false),
    };

    public static TheoryData<string> Names() => [.. Functions.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void GradientsMatchFiniteDifferences(string name)
    {
        using TensorScope scope = TensorScope.Begin();
        foreach (Shape shape in (Shape[])[[], [1], [0, 3], [3, 7]])
        {
            Tensor x = Tensor.Randn(shape, 1, DType.Float64);
            GradCheck.Run(t => Functions[name].Op(t[0]), [(Functions[name].NeedsPositive ? x * x + 0.5 : x).Clone()]);
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void SinglePrecisionIsWithinAFewUnitsInTheLastPlace(string name)
    {
        using TensorScope scope = TensorScope.Begin();
        (Func<Tensor, Tensor> op, Func<double, double> reference, bool needsPositive) = Functions[name];
        float[] x = [.. Enumerable.Range(-88000, 176001).Select(i => i * 1e-3f), 1e-6f, -1e-6f, 3e-20f, -3e-20f];
        if (needsPositive) x = [.. x.Where(v => v > 0)];
        float[] y = op(Tensor.From(x, [x.Length])).ToArray<float>();
        for (int i = 0; i < x.Length; i++)
        {
            double expected = reference(x[i]);
            Assert.True(Math.Abs(y[i] - expected) <= 6e-7 * Math.Abs(expected) + 1e-37, $"{name}({x[i]:R}): expected {expected:R}, got {y[i]:R}");
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void OtherTypesMatchDoublePrecision(string name)
    {
        using TensorScope scope = TensorScope.Begin();
        foreach (DType dtype in (DType[])[DType.Float64, DType.BFloat16, DType.Float16])
        {
            Tensor x = Tensor.Randn([33, 31], 2, dtype);
            if (Functions[name].NeedsPositive) x = x * x + 0.1;
            Tensor expected = Tensor.From(x.ToArray<double>().Select(Functions[name].Reference).ToArray(), x.Shape);
            Numeric.AssertClose(expected, Functions[name].Op(x));
        }
    }

    [Theory]
    [MemberData(nameof(TestDevices.AllWithTypes), MemberType = typeof(TestDevices))]
    public void MatchesTheReferenceOnEveryDevice(string device, DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        Device place = TestDevices.Get(device);
        foreach ((string name, (Func<Tensor, Tensor> op, _, bool needsPositive)) in Functions)
            foreach (Shape shape in (Shape[])[[], [1], [0, 3], [3, 7], [2, 64], [1031]])
            {
                Tensor x = Tensor.Randn(shape, 1);
                DeviceCheck.Run(place, dtype, t => op(t[0]), [needsPositive ? x * x + 0.5 : x], roundings: 2);
            }
        Tensor view = Tensor.Randn([6, 16], 2);
        DeviceCheck.Run(place, dtype, t => F.Silu(t[0].Transpose(0, 1)), [view]);
        DeviceCheck.Run(place, dtype, t => F.Tanh(t[0].Narrow(1, 8, 5)), [view]);
        DeviceCheck.Run(place, dtype, t => F.Tanh(t[0].Narrow(1, 3, 8)), [view]);
        DeviceCheck.Run(place, dtype, t => 2 / (3 + t[0] * t[0]) - t[0] / 3 + (1 - t[0]), [view], roundings: 4);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void SinglePrecisionOnCudaIsWithinAFewUnitsInTheLastPlace(string name)
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        (Func<Tensor, Tensor> op, Func<double, double> reference, bool needsPositive) = Functions[name];
        float[] x = [.. Enumerable.Range(-8800, 17601).Select(i => i * 1e-2f), 1e-6f, -1e-6f, 3e-20f, -3e-20f];
        if (needsPositive) x = [.. x.Where(v => v > 0)];
        float[] y = op(Tensor.From(x, [x.Length], cuda)).ToArray<float>();
        for (int i = 0; i < x.Length; i++)
        {
            double expected = reference(x[i]);
            Assert.True(Math.Abs(y[i] - expected) <= 6e-7 * Math.Abs(expected) + 1e-37, $"{name}({x[i]:R}): expected {expected:R}, got {y[i]:R}");
        }
    }

    [Theory]
    [InlineData("cpu", DType.Float64)]
    [InlineData("cpu", DType.Float32)]
    [InlineData("cuda", DType.Float32)]
    public void LimitsAreThoseOfIeee(string device, DType dtype)
    {
        Device place = TestDevices.Get(device);
        using TensorScope scope = TensorScope.Begin();
        double[] values = [double.NaN, double.PositiveInfinity, double.NegativeInfinity, 0, -0.0, 1e30, -1e30];
        foreach ((string name, (Func<Tensor, Tensor> op, Func<double, double> reference, _)) in Functions)
        {
            double[] y = op(Tensor.From(values, [values.Length]).To(place, dtype)).ToArray<double>();
            for (int i = 0; i < values.Length; i++)
            {
                double expected = dtype == DType.Float32 ? (float)reference((float)values[i]) : reference(values[i]);
                if (double.IsFinite(expected)) Assert.True(Math.Abs(expected - y[i]) <= 1e-6 * Math.Abs(expected), $"{name}({values[i]}): expected {expected}, got {y[i]}");
                else Assert.Equal(expected, y[i]);
            }
        }
    }

    [Fact]
    public void AValueHasTheSameBitsWhereverItLies()
    {
        using TensorScope scope = TensorScope.Begin();
        foreach ((string name, (Func<Tensor, Tensor> op, _, _)) in Functions)
        {
            Tensor x = Tensor.Full([2051], 0.7310585975646973);
            Assert.True(op(x).ToArray<float>().Distinct().Count() == 1, name);
        }
    }

    [Fact]
    public void BitsDoNotDependOnThreads()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([100003], 3);
        Threads.AssertSameBits(() => [F.Tanh(x), F.Silu(x)]);
    }

    [Fact]
    public void ReadsTransposedViews()
    {
        using TensorScope scope = TensorScope.Begin();
        GradCheck.Run(t => F.Silu(t[0].Transpose(0, 1)), [Tensor.Randn([3, 5], 4, DType.Float64)]);
    }

    [Fact]
    public void RefusesIntegers()
    {
        using TensorScope scope = TensorScope.Begin();
        var e = Assert.Throws<ArgumentException>(() => F.Exp(Tensor.Zeros([2], DType.Int64)));
        Assert.Contains("Exp: Int64 is not a floating-point type", e.Message, StringComparison.Ordinal);
    }
}
