using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class RmsNormTests
{
    [Theory]
    [InlineData(0, 4)]
    [InlineData(1, 1)]
    [InlineData(3, 5)]
    [InlineData(2, 67)]
    public void GradientsMatchFiniteDifferences(int rows, int features)
    {
        using TensorScope scope = TensorScope.Begin();
        GradCheck.Run(x => F.RmsNorm(x[0], x[1]), [Tensor.Randn([rows, features], 1, DType.Float64), Tensor.Randn([features], 2, DType.Float64)]);
    }

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void MatchesDoublePrecision(DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([33, 130], 3, dtype), w = Tensor.Randn([130], 4, dtype);
        Tensor expected = F.RmsNorm(x.To(dtype: DType.Float64), w.To(dtype: DType.Float64));
        Numeric.AssertClose(expected, F.RmsNorm(x, w));
    }

    [Fact]
    public void RefusesAWeightOfAnotherWidth()
    {
        using TensorScope scope = TensorScope.Begin();
        var e = Assert.Throws<ArgumentException>(() => F.RmsNorm(Tensor.Ones([2, 3]), Tensor.Ones([4])));
        Assert.Contains("RmsNorm: shape [4] does not fit input [2, 3]; expected [3]", e.Message, StringComparison.Ordinal);
        Assert.Equal("weight", e.ParamName);
    }

    [Theory]
    [InlineData(DType.Float32, 5, 3)]
    [InlineData(DType.Float32, 33, 130)]
    [InlineData(DType.BFloat16, 33, 1024)]
    [InlineData(DType.Float16, 4, 1200)]
    public void CudaMatchesDoublePrecision(DType dtype, int rows, int features)
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        DeviceCheck.RunAll(cuda, dtype, t => [F.RmsNorm(t[0], t[1])], Tensor.Randn([rows, features], 1, DType.Float64), Tensor.Randn([features], 2, DType.Float64));
    }
}
