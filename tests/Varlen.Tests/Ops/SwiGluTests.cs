using Varlen.Autograd;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class SwiGluTests
{
    [Theory]
    [InlineData(0, 4)]
    [InlineData(1, 1)]
    [InlineData(3, 5)]
    [InlineData(2, 67)]
    public void GradientsMatchFiniteDifferences(int rows, int features)
    {
        using TensorScope scope = TensorScope.Begin();
        GradCheck.Run(x => F.SwiGlu(x[0], x[1]), [Tensor.Randn([rows, features], 1, DType.Float64), Tensor.Randn([rows, features], 2, DType.Float64)]);
        GradCheck.Run(x => F.SwiGlu(x[0].Chunk(2)[0], x[0].Chunk(2)[1]), [Tensor.Randn([rows, 2 * features], 3, DType.Float64)]);
        GradCheck.Run(x => F.SwiGlu(x[0], x[0]), [Tensor.Randn([rows, features], 4, DType.Float64)]);
    }

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void MatchesDoublePrecision(DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([33, 260], 5, dtype);
        double[] values = x.ToArray<double>();
        var expected = new double[33 * 130];
        for (int i = 0; i < expected.Length; i++)
        {
            double gate = values[i / 130 * 260 + i % 130], up = values[i / 130 * 260 + 130 + i % 130];
            expected[i] = gate / (1 + Math.Exp(-gate)) * up;
        }
        Numeric.AssertClose(Tensor.From(expected, [33, 130]), F.SwiGlu(x.Chunk(2)[0], x.Chunk(2)[1]));
    }

    [Theory]
    [MemberData(nameof(TestDevices.AllWithTypes), MemberType = typeof(TestDevices))]
    public void MatchesTheReferenceOnEveryDevice(string device, DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        foreach ((int rows, int features) in (ReadOnlySpan<(int, int)>)[(0, 4), (1, 1), (3, 5), (2, 67), (33, 64), (1, 5000)])
        {
            DeviceCheck.Run(TestDevices.Get(device), dtype, x => F.SwiGlu(x[0], x[1]), [Tensor.Randn([rows, features], 1), Tensor.Randn([rows, features], 2)]);
            DeviceCheck.Run(TestDevices.Get(device), dtype, x => F.SwiGlu(x[0].Chunk(2)[0], x[0].Chunk(2)[1]), [Tensor.Randn([rows, 2 * features], 3)]);
        }
        DeviceCheck.Run(TestDevices.Get(device), dtype, x => F.SwiGlu(x[0].Transpose(0, 1), x[1]), [Tensor.Randn([9, 16], 4), Tensor.Randn([16, 9], 5)]);
        DeviceCheck.Run(TestDevices.Get(device), dtype, x => F.SwiGlu(x[0], x[0]), [Tensor.Randn([5, 8], 6)], roundings: 2);
    }

    [Theory]
    [MemberData(nameof(TestDevices.All), MemberType = typeof(TestDevices))]
    public void TailsAndWhatIsNotFinite(string device)
    {
        using TensorScope scope = TensorScope.Begin();
        float[] gate = [-200, -89, -50, 50, 200, float.PositiveInfinity, float.NegativeInfinity, float.NaN];
        float[] y = F.SwiGlu(Tensor.From(gate, [8], TestDevices.Get(device)), Tensor.Ones([8], device: TestDevices.Get(device))).ToArray<float>();
        Assert.Equal([0, 0, 0, 50, 200, float.PositiveInfinity, float.NaN, float.NaN], y.Select(value => Math.Abs(value) < 1e-19f ? 0 : value));
    }

    [Fact]
    public void GradientsOfAFusedProjectionShareOneBuffer()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([10, 8], 6, requiresGrad: true), w = Tensor.Randn([24, 8], 7, requiresGrad: true), down = Tensor.Randn([8, 12], 8, requiresGrad: true);
        Tensor[] halves = F.Linear(x, w).Chunk(2);
        Tensor y = F.Linear(F.SwiGlu(halves[0], halves[1]), down);
        (long buffers, long adds, long fills, long copies) = (GradientStatistics.Buffers, GradientStatistics.StandaloneAdds, GradientStatistics.ZeroFills, GradientStatistics.Copies);
        y.Backward(Tensor.Ones([10, 8]));
        // The result, the activation, the fused projection, and three leaves.
        Assert.Equal(6, GradientStatistics.Buffers - buffers);
        Assert.Equal((adds, fills, copies), (GradientStatistics.StandaloneAdds, GradientStatistics.ZeroFills, GradientStatistics.Copies));
        Assert.All(w.Grad!.ToArray<double>(), value => Assert.True(double.IsFinite(value)));
    }

    [Fact]
    public void RefusesOtherShapes()
    {
        using TensorScope scope = TensorScope.Begin();
        var e = Assert.Throws<ArgumentException>(() => F.SwiGlu(Tensor.Ones([2, 3]), Tensor.Ones([3])));
        Assert.Contains("SwiGlu: shape [3] does not fit gate [2, 3]", e.Message, StringComparison.Ordinal);
    }
}
