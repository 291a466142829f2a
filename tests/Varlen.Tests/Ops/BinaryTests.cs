using Varlen.Autograd;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class BinaryTests
{
    private static readonly Dictionary<string, (Func<Tensor, Tensor, Tensor> Op, Func<double, double, double> Reference)> Functions = new()
    {
        ["Add"] = (F.Add, (a, b) => a + b),
        ["Subtract"] = (F.Subtract, (a, b) => a - b),
        ["Multiply"] = (F.Multiply, (a, b) => a * b),
        ["Divide"] = (F.Divide, (a, b) => a / b),
    };

    public static TheoryData<string, int[], int[]> Cases()
    {
        var data = new TheoryData<string, int[], int[]>();
        foreach (string name in Functions.Keys)
        {
            data.Add(name, [3, 5], [3, 5]);
            data.Add(name, [3, 5], [5]);
            data.Add(name, [5], [2, 3, 5]);
            data.Add(name, [2, 1, 5], [3, 1]);
            data.Add(name, [2, 3, 1, 4], [1, 2, 1]);
            data.Add(name, [3, 4], []);
            data.Add(name, [1], [1]);
            data.Add(name, [], []);
            data.Add(name, [0, 4], [4]);
            data.Add(name, [0, 4], [1, 1]);
        }
        return data;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void GradientsMatchFiniteDifferences(string name, int[] first, int[] second)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor a = Tensor.Randn(new Shape(first), 1, DType.Float64), b = (Tensor.Randn(new Shape(second), 2, DType.Float64) + 4.5).Clone();
        GradCheck.Run(x => Functions[name].Op(x[0], x[1]), [a, b]);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void MatchesIndexByIndex(string name, int[] first, int[] second)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor a = Tensor.Randn(new Shape(first), 3, DType.Float64), b = Tensor.Randn(new Shape(second), 4, DType.Float64);
        Tensor y = Functions[name].Op(a, b);
        double[] av = a.ToArray<double>(), bv = b.ToArray<double>(), yv = y.ToArray<double>();
        for (int i = 0; i < yv.Length; i++)
            Assert.Equal(Functions[name].Reference(av[Index(i, y.Shape, a.Shape)], bv[Index(i, y.Shape, b.Shape)]), yv[i]);
    }

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void MatchesDoublePrecision(DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor a = Tensor.Randn([33, 130], 5, dtype), b = Tensor.Randn([130], 6, dtype);
        Tensor a64 = a.To(dtype: DType.Float64), b64 = b.To(dtype: DType.Float64);
        Numeric.AssertClose(a64 + b64, a + b);
        Numeric.AssertClose(a64 - b64, a - b);
        Numeric.AssertClose(a64 * b64, a * b);
        Numeric.AssertClose(a64 / (b64 * b64 + 1.0), a / (b * b + 1.0), dtype == DType.Float32 ? null : 8 * Numeric.Tolerance(dtype, 4));
    }

    [Theory]
    [MemberData(nameof(TestDevices.AllWithTypes), MemberType = typeof(TestDevices))]
    public void MatchesTheReferenceOnEveryDevice(string device, DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        Device place = TestDevices.Get(device);
        foreach ((string name, (Func<Tensor, Tensor, Tensor> op, _)) in Functions)
            foreach ((int[] first, int[] second) in (ReadOnlySpan<(int[], int[])>)[([3, 5], [3, 5]), ([16, 24], [24]), ([5], [2, 3, 5]), ([7, 16], [7, 1]), ([2, 1, 8], [3, 1]), ([4, 64], []), ([], []), ([0, 4], [4]), ([2051], [2051])])
            {
                Tensor a = Tensor.Randn(new Shape(first), 1), b = Tensor.Randn(new Shape(second), 2);
                DeviceCheck.Run(place, dtype, x => op(x[0], x[1]), [a, name == "Divide" ? b * b + 1.5 : b], roundings: 4);
            }
        Tensor fused = Tensor.Randn([7, 24], 8);
        DeviceCheck.Run(place, dtype, x =>
        {
            Tensor[] parts = x[0].Chunk(3);
            return parts[0] * parts[1] + parts[2] / (parts[0] * parts[0] + 2.0);
        }, [fused], roundings: 8);
        DeviceCheck.Run(place, dtype, x => x[0].Transpose(0, 1) * x[1], [Tensor.Randn([3, 5], 9), Tensor.Randn([5, 3], 10)]);
        DeviceCheck.Run(place, dtype, x => x[0] * x[0] - x[0], [Tensor.Randn([4, 8], 11)], roundings: 4);
    }

    [Theory]
    [MemberData(nameof(TestDevices.AllWithTypes), MemberType = typeof(TestDevices))]
    public void AddsInPlaceOnEveryDevice(string device, DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Zeros([4, 6], dtype, TestDevices.Get(device));
        x.Chunk(2)[1].AddInPlace(Tensor.From([1f, 2, 3], [3]).To(TestDevices.Get(device), dtype), 0.5);
        Assert.Equal([0, 0, 0, 0.5f, 1, 1.5f], x.ToArray<float>()[..6]);
    }

    [Fact]
    public void DoublePrecisionIsTheCpusAlone()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Ones([2], DType.Float64, cuda);
        Assert.Contains("Add: Float64 is the reference precision", Assert.Throws<NotSupportedException>(() => x + x).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ReadsAndWritesStridedViews()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor fused = Tensor.Randn([7, 12], 8, DType.Float64);
        GradCheck.Run(x =>
        {
            Tensor[] parts = x[0].Chunk(3);
            return parts[0] * parts[1] + parts[2] / (parts[0] * parts[0] + 2.0);
        }, [fused]);
        GradCheck.Run(x => x[0].Transpose(0, 1) * x[1], [Tensor.Randn([3, 5], 9, DType.Float64), Tensor.Randn([5, 3], 10, DType.Float64)]);
    }

    [Fact]
    public void GivesBothGradientsWhenAValueMeetsItself()
    {
        using TensorScope scope = TensorScope.Begin();
        // An intermediate value, not a leaf: its gradient's buffer may be passed on and must not be written twice.
        GradCheck.Run(x =>
        {
            Tensor h = x[0] * 3.0;
            return (h * h + (h + h)) * 1.5 - h / (h * h + 1.0);
        }, [Tensor.Randn([4, 5], 11, DType.Float64)]);
        GradCheck.Run(x =>
        {
            Tensor h = x[0] * 3.0;
            return h * h;
        }, [Tensor.Randn([4, 5], 18, DType.Float64)]);
        GradCheck.Run(x =>
        {
            Tensor h = x[0] * 3.0;
            return h + h;
        }, [Tensor.Randn([4, 5], 19, DType.Float64)]);
    }

    [Fact]
    public void HandsTheGradientOfEqualShapesOn()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor a = Tensor.Randn([64, 16], 12, requiresGrad: true), b = Tensor.Randn([64, 16], 13, requiresGrad: true);
        Tensor sum = (a * 2.0) + (b * 2.0);
        (long buffers, long adds, long fills) = (GradientStatistics.Buffers, GradientStatistics.StandaloneAdds, GradientStatistics.ZeroFills);
        sum.Backward(Tensor.Ones([64, 16]));
        // The root's and the two leaves'; none for what lies between, apart from the second branch's own when it stops sharing.
        Assert.InRange(GradientStatistics.Buffers - buffers, 3, 3);
        Assert.Equal(adds, GradientStatistics.StandaloneAdds);
        Assert.Equal(fills, GradientStatistics.ZeroFills);
        Assert.All(b.Grad!.ToArray<double>(), value => Assert.Equal(2, value));
    }

    [Fact]
    public void ScalarsKeepTheirPrecisionUnderSixteenBits()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Full([3], 768, DType.BFloat16);
        // 768 / 3.001953125 is 255.83...: a bfloat16 3 would give 256 - 1 ulp or more away.
        Assert.Equal((double)(float)(BFloat16)(float)(768 * 0.333f), (x * 0.333).ToArray<double>()[0]);
    }

    [Fact]
    public void OperatorsWithNumbers()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.From([0.5, -2, 4], [3]);
        Assert.Equal([1.5, -1, 5], (x + 1).ToArray<double>());
        Assert.Equal([1.5, -1, 5], (1 + x).ToArray<double>());
        Assert.Equal([-0.5, -3, 3], (x - 1).ToArray<double>());
        Assert.Equal([0.5, 3, -3], (1 - x).ToArray<double>());
        Assert.Equal([1.5, -6, 12], (3 * x).ToArray<double>());
        Assert.Equal([0.25, -1, 2], (x / 2).ToArray<double>());
        Assert.Equal([4, -1, 0.5], (2 / x).ToArray<double>());
        Assert.Equal([-0.5, 2, -4], (-x).ToArray<double>());
        GradCheck.Run(t => (2 / (3 - t[0] * t[0])) + (-t[0] / 3 - 1) * (1 + t[0]), [x.Clone()]);
    }

    [Fact]
    public void AddsInPlace()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Zeros([4, 6]);
        x.Chunk(2)[1].AddInPlace(Tensor.From([1f, 2, 3], [3]), 0.5);
        Assert.Equal([0, 0, 0, 0.5f, 1, 1.5f], x.ToArray<float>()[..6]);
        Assert.Throws<ArgumentException>(() => x.AddInPlace(Tensor.Zeros([2, 4, 6])));
        Tensor leaf = Tensor.Zeros([2], requiresGrad: true);
        Assert.Throws<InvalidOperationException>(() => leaf.AddInPlace(Tensor.Zeros([2])));
    }

    [Fact]
    public void RefusesWhatDoesNotFit()
    {
        using TensorScope scope = TensorScope.Begin();
        var shapes = Assert.Throws<ArgumentException>(() => Tensor.Ones([2, 3]) + Tensor.Ones([2, 4]));
        Assert.Contains("Add: shapes [2, 3] and [2, 4] do not broadcast: sizes 3 and 4 of dimension -1", shapes.Message, StringComparison.Ordinal);
        var types = Assert.Throws<ArgumentException>(() => Tensor.Ones([2]) * Tensor.Ones([2], DType.Float64));
        Assert.Contains("Multiply: element type Float64 does not match Float32", types.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => Tensor.Zeros([2], DType.Int32) + Tensor.Zeros([2], DType.Int32));
        Assert.Throws<ArgumentNullException>(() => F.Add(Tensor.Ones([2]), null!));
    }

    [Fact]
    public void BitsDoNotDependOnThreads()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor a = Tensor.Randn([301, 517], 14), b = Tensor.Randn([517], 15);
        Threads.AssertSameBits(() =>
        {
            Tensor x = a.Clone(), y = b.Clone();
            x.RequiresGrad = y.RequiresGrad = true;
            Tensor z = x * y / (x * x + 1);
            z.Backward(a);
            return [z, x.Grad!.Clone(), y.Grad!.Clone()];
        });
    }

    [Fact]
    public void LeavesNothingBehind()
        => Memory.AssertReleasesAll(() =>
        {
            using TensorScope scope = TensorScope.Begin();
            Tensor x = Tensor.Randn([5, 7], 16, requiresGrad: true), y = Tensor.Randn([7], 17, requiresGrad: true);
            (x * y - x / 2).Backward(Tensor.Ones([5, 7]));
        });

    /// <summary>Where an element of the broadcast shape comes from in an operand.</summary>
    private static int Index(int flat, Shape whole, Shape operand)
    {
        int index = 0, stride = 1;
        for (int fromEnd = 1; fromEnd <= whole.Rank; fromEnd++)
        {
            int at = flat % whole[-fromEnd];
            flat /= whole[-fromEnd];
            if (fromEnd > operand.Rank) continue;
            index += operand[-fromEnd] == 1 ? 0 : at * stride;
            stride *= operand[-fromEnd];
        }
        return index;
    }
}
