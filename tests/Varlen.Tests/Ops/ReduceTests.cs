using Xunit;

namespace Varlen.Tests.Ops;

public sealed class ReduceTests
{
    public static TheoryData<int[], int[], bool> Cases => new()
    {
        { [], [], false }, { [1], [], false }, { [5], [0], true }, { [3, 4], [], false }, { [3, 4], [0], false }, { [3, 4], [1], true },
        { [2, 3, 4], [1], false }, { [2, 3, 4], [0, 2], true }, { [2, 3, 4], [-1, 1], false }, { [2, 1, 3], [1], false }, { [4, 0], [0], false },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void GradientsMatchFiniteDifferences(int[] shape, int[] dimensions, bool keep)
    {
        using TensorScope scope = TensorScope.Begin();
        GradCheck.Run(x => x[0].Sum(dimensions, keep), [Tensor.Randn(new Shape(shape), 1, DType.Float64)]);
        GradCheck.Run(x => x[0].Mean(dimensions, keep), [Tensor.Randn(new Shape(shape), 2, DType.Float64)]);
        GradCheck.Run(x => x[0].Max(dimensions, keep), [Tensor.Randn(new Shape(shape), 3, DType.Float64)]);
    }

    [Theory]
    [InlineData(new[] { 70, 300, 5 }, new[] { 0 })]
    [InlineData(new[] { 70, 300, 5 }, new[] { 1 })]
    [InlineData(new[] { 70, 300, 5 }, new[] { 2 })]
    [InlineData(new[] { 70, 300, 5 }, new[] { 0, 2 })]
    [InlineData(new[] { 70, 300, 5 }, new[] { 0, 1, 2 })]
    [InlineData(new[] { 3000, 67 }, new[] { 0 })]
    [InlineData(new[] { 2, 70001 }, new[] { 1 })]
    public void MatchesASumInDoublePrecision(int[] shape, int[] dimensions)
    {
        using TensorScope scope = TensorScope.Begin();
        foreach (DType dtype in (DType[])[DType.Float64, DType.Float32, DType.BFloat16, DType.Float16])
        {
            Tensor x = Tensor.Randn(new Shape(shape), 4, dtype);
            (double[] sums, double[] maxima) = Reference(x, dimensions);
            Tensor sum = x.Sum(dimensions), max = x.Max(dimensions);
            Numeric.AssertClose(Tensor.From(sums, sum.Shape), sum);
            Assert.Equal(maxima, max.ToArray<double>());
        }
    }

    [Theory]
    [MemberData(nameof(TestDevices.AllWithTypes), MemberType = typeof(TestDevices))]
    public void MatchesTheReferenceOnEveryDevice(string device, DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        Device place = TestDevices.Get(device);
        foreach ((int[] shape, int[] dimensions) in (ReadOnlySpan<(int[], int[])>)
            [([], []), ([1], []), ([5], [0]), ([3, 4], [1]), ([2, 3, 4], [0, 2]), ([2, 1, 3], [1]), ([4, 0], [0]), ([0, 3], [0]), ([7, 30, 5], [0]), ([7, 30, 5], [1]), ([7, 30, 5], [0, 2]), ([300, 67], [0]), ([300, 64], [0]), ([3, 64], [1]), ([2, 20000], [1]), ([2, 17001], [])])
        {
            Tensor x = Tensor.Randn(new Shape(shape), 1);
            DeviceCheck.Run(place, dtype, t => t[0].Sum(dimensions), [x]);
            if (x.Count == 0) continue;
            DeviceCheck.Run(place, dtype, t => t[0].Mean(dimensions, keepDimensions: true), [x]);
            // Distinct values, so that rounding does not make other maxima.
            Tensor distinct = Tensor.From([.. Enumerable.Range(0, (int)x.Count).Select(i => (float)(i * 37 % 251))], x.Shape);
            DeviceCheck.Run(place, dtype, t => t[0].Max(dimensions), [distinct], roundings: 2);
        }
        Tensor view = Tensor.Randn([6, 5, 16], 5);
        DeviceCheck.Run(place, dtype, t => t[0].Transpose(0, 2).Narrow(0, 2, 4).Sum([0]), [view]);
        DeviceCheck.Run(place, dtype, t => t[0].Transpose(0, 2).Narrow(0, 2, 4).Sum([1, 2]), [view]);
        DeviceCheck.Run(place, dtype, t => t[0].Narrow(2, 8, 8).Sum([1]), [view]);
        DeviceCheck.Run(place, dtype, t => t[0].Narrow(2, 8, 8).Sum([2]), [view]);
    }

    [Theory]
    [MemberData(nameof(TestDevices.All), MemberType = typeof(TestDevices))]
    public void EmptySumsAndNotANumberOnEveryDevice(string device)
    {
        Device place = TestDevices.Get(device);
        using TensorScope scope = TensorScope.Begin();
        Assert.Equal([0f, 0, 0], Tensor.Zeros([0, 3], device: place).Sum([0]).ToArray<float>());
        Assert.All(Tensor.Zeros([0, 3], device: place).Mean([0]).ToArray<float>(), value => Assert.Equal(float.NaN, value));
        foreach (int at in (int[])[0, 3, 36])
        {
            var values = new float[37];
            values[at] = float.NaN;
            Tensor x = Tensor.From(values, [37], place);
            Assert.Equal(double.NaN, x.Max().Item());
            Assert.Equal(double.NaN, x.View(37, 1).Max([0]).Item());
        }
    }

    [Fact]
    public void SumsOfMillionsStayAccurateOnCuda()
    {
        Device cuda = TestDevices.RealCuda();
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Full([3_000_064], 0.1, device: cuda);
        const double limit = 256.0 / (1 << 24);
        Assert.Equal(1, x.Sum().Item() / (0.1f * 3_000_064.0), limit);
        Assert.All(x.View(46_876, 64).Mean([0]).ToArray<double>(), mean => Assert.Equal(1, mean / 0.1f, limit));
    }

    [Fact]
    public void ReducesStridedViews()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([6, 5, 8], 5, DType.Float64);
        Tensor view = x.Transpose(0, 2).Narrow(0, 2, 4);
        Numeric.AssertClose(view.Clone().Sum([0]), view.Sum([0]));
        Numeric.AssertClose(view.Clone().Sum([1, 2]), view.Sum([1, 2]));
        GradCheck.Run(t => t[0].Transpose(0, 2).Narrow(0, 2, 4).Max([2]), [x]);
    }

    [Fact]
    public void SumsOfMillionsStayAccurateInSinglePrecision()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Full([3_000_001], 0.1);
        // At most 256 additions in a row are done in single precision, each with a relative error of up to 2^-24.
        const double limit = 256.0 / (1 << 24);
        Assert.Equal(1, x.Sum().Item() / (0.1f * 3_000_001.0), limit);
        Assert.Equal(1, x.View(3_000_001, 1).Mean([0]).Item() / 0.1f, limit);
    }

    [Fact]
    public void SumsOfNothing()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Zeros([0, 3]);
        Assert.Equal([0f, 0, 0], x.Sum([0]).ToArray<float>());
        Assert.Equal(new Shape(0), x.Sum([1]).Shape);
        Assert.All(x.Mean([0]).ToArray<float>(), value => Assert.Equal(float.NaN, value));
        var e = Assert.Throws<ArgumentException>(() => x.Max());
        Assert.Contains("Max: the maximum over no elements of [0, 3] is undefined", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void NotANumberWins()
    {
        using TensorScope scope = TensorScope.Begin();
        foreach (int at in (int[])[0, 3, 36])
        {
            var values = new float[37];
            values[at] = float.NaN;
            Tensor x = Tensor.From(values, [37]);
            Assert.Equal(double.NaN, x.Max().Item());
            Assert.Equal(double.NaN, x.Sum().Item());
            Assert.Equal(double.NaN, x.View(37, 1).Max([0]).Item());
        }
    }

    [Fact]
    public void EqualMaximaShareTheGradient()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.From([1.0, 4, 4, 2, 4, 3], [2, 3], requiresGrad: true);
        x.Max([1]).Backward(Tensor.From([1.0, 3], [2]));
        Assert.Equal([0, 0.5, 0.5, 0, 3, 0], x.Grad!.ToArray<double>());
    }

    [Fact]
    public void BitsDoNotDependOnThreads()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([1003, 301], 6);
        Threads.AssertSameBits(() => [x.Sum(), x.Sum([0]), x.Sum([1]), x.Max([0])]);
    }

    [Fact]
    public void RefusesBadDimensions()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Zeros([2, 3]);
        Assert.Throws<ArgumentOutOfRangeException>(() => x.Sum([2]));
        var twice = Assert.Throws<ArgumentException>(() => x.Sum([1, -1]));
        Assert.Contains("Sum: dimension -1 of [2, 3] is named twice", twice.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => Tensor.Zeros([2], DType.Int32).Sum());
    }

    [Fact]
    public void LeavesNothingBehind()
        => Memory.AssertReleasesAll(() =>
        {
            using TensorScope scope = TensorScope.Begin();
            Tensor x = Tensor.Randn([5, 7], 7, requiresGrad: true);
            (x.Max([0]).Sum() + x.Mean()).Backward();
        });

    private static (double[] Sums, double[] Maxima) Reference(Tensor x, int[] dimensions)
    {
        int[] sizes = x.Shape.Dimensions.ToArray();
        int outputs = 1;
        for (int i = 0; i < sizes.Length; i++) outputs *= dimensions.Contains(i) ? 1 : sizes[i];
        double[] values = x.ToArray<double>(), sums = new double[outputs], maxima = new double[outputs];
        Array.Fill(maxima, double.NegativeInfinity);
        for (int flat = 0; flat < values.Length; flat++)
        {
            int rest = flat, output = 0, stride = 1;
            for (int i = sizes.Length - 1; i >= 0; i--)
            {
                if (!dimensions.Contains(i))
                {
                    output += rest % sizes[i] * stride;
                    stride *= sizes[i];
                }
                rest /= sizes[i];
            }
            sums[output] += values[flat];
            maxima[output] = Math.Max(maxima[output], values[flat]);
        }
        return (sums, maxima);
    }
}
