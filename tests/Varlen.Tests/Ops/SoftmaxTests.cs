using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class SoftmaxTests
{
    [Theory]
    [InlineData(0, 4)]
    [InlineData(3, 0)]
    [InlineData(1, 1)]
    [InlineData(3, 5)]
    [InlineData(2, 67)]
    public void GradientsMatchFiniteDifferences(int rows, int features)
    {
        using TensorScope scope = TensorScope.Begin();
        GradCheck.Run(x => F.Softmax(x[0]), [Tensor.Randn([rows, features], 1, DType.Float64)]);
        GradCheck.Run(x => F.LogSoftmax(x[0]), [Tensor.Randn([rows, features], 2, DType.Float64)]);
        GradCheck.Run(x => F.Softmax(x[0].Transpose(0, 1)), [Tensor.Randn([features, rows], 3, DType.Float64)]);
    }

    [Theory]
    [InlineData(DType.Float64)]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void MatchesTheFormula(DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = (Tensor.Randn([33, 130], 4, dtype) * 5.0 + 100.0).Clone();
        double[] values = x.ToArray<double>(), softmax = new double[values.Length], logarithm = new double[values.Length];
        for (int row = 0; row < 33; row++)
        {
            double[] shifted = [.. values[(row * 130)..(row * 130 + 130)].Select(v => v - 100)];
            double sum = shifted.Sum(Math.Exp);
            for (int i = 0; i < 130; i++) (softmax[row * 130 + i], logarithm[row * 130 + i]) = (Math.Exp(shifted[i]) / sum, shifted[i] - Math.Log(sum));
        }
        Numeric.AssertClose(Tensor.From(softmax, x.Shape), F.Softmax(x));
        Numeric.AssertClose(Tensor.From(logarithm, x.Shape), F.LogSoftmax(x));
    }

    [Theory]
    [MemberData(nameof(TestDevices.AllWithTypes), MemberType = typeof(TestDevices))]
    public void MatchesTheReferenceOnEveryDevice(string device, DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        Device place = TestDevices.Get(device);
        foreach ((int rows, int features) in (ReadOnlySpan<(int, int)>)[(0, 4), (3, 0), (1, 1), (3, 5), (2, 67), (10, 64), (3, 2056), (2, 3001)])
        {
            Tensor x = Tensor.Randn([rows, features], 1) * 3.0;
            DeviceCheck.Run(place, dtype, t => F.Softmax(t[0]), [x], roundings: 2);
            DeviceCheck.Run(place, dtype, t => F.LogSoftmax(t[0]), [x], roundings: 2);
        }
        DeviceCheck.Run(place, dtype, t => F.Softmax(t[0].Transpose(0, 1)), [Tensor.Randn([5, 9], 2)], roundings: 2);
    }

    [Theory]
    [MemberData(nameof(TestDevices.All), MemberType = typeof(TestDevices))]
    public void LargeInputsDoNotOverflow(string device)
    {
        Device place = TestDevices.Get(device);
        using TensorScope scope = TensorScope.Begin();
        Assert.Equal([0f, 1, 0], F.Softmax(Tensor.From([-3e38f, 3e38f, 1e30f], [3], place)).ToArray<float>());
        Assert.Equal([0.5f, 0.5f, 0], F.Softmax(Tensor.From([3e38f, 3e38f, float.NegativeInfinity], [3], place)).ToArray<float>());
        Assert.Equal([-1000f, 0], F.LogSoftmax(Tensor.From([-500f, 500], [2], place)).ToArray<float>());
    }

    [Theory]
    [MemberData(nameof(TestDevices.All), MemberType = typeof(TestDevices))]
    public void NotANumberStaysInItsRow(string device)
    {
        Device place = TestDevices.Get(device);
        using TensorScope scope = TensorScope.Begin();
        float[] y = F.Softmax(Tensor.From([float.NegativeInfinity, float.NegativeInfinity, float.NaN, 1, 0, 0], [3, 2], place)).ToArray<float>();
        Assert.Equal([float.NaN, float.NaN, float.NaN, float.NaN, 0.5f, 0.5f], y);
    }

    [Fact]
    public void BitsDoNotDependOnThreads()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([301, 517], 5);
        Threads.AssertSameBits(() => [F.Softmax(x), F.LogSoftmax(x)]);
    }

    [Fact]
    public void RefusesScalarsAndIntegers()
    {
        using TensorScope scope = TensorScope.Begin();
        Assert.Contains("Softmax: a scalar has no features", Assert.Throws<ArgumentException>(() => F.Softmax(Tensor.Ones([]))).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => F.LogSoftmax(Tensor.Zeros([2], DType.Int32)));
    }
}
