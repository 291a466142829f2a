using Varlen.Ops;
using Xunit;

namespace Varlen.Tests.Backends.Cuda;

public sealed class CopyTests
{
    private static readonly DType[] Types = Enum.GetValues<DType>();

    public static TheoryData<DType, DType> Pairs { get; } = new(from source in Types from destination in Types select (source, destination));

    [Theory]
    [MemberData(nameof(Pairs))]
    public void ConvertsAsTheCpuDoes(DType source, DType destination)
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        foreach (int count in (int[])[0, 1, 7, 1025])
        {
            float[] values = [.. Enumerable.Range(0, count).Select(i => (float)((i * 37 % 101) - (source == DType.Bool ? 0 : 50)) / 4)];
            Tensor host = Tensor.From(values, [count]).To(dtype: source);
            Tensor expected = host.To(dtype: destination), actual = host.To(cuda).To(dtype: destination);
            Assert.Equal(expected.ToArray<double>(), actual.ToArray<double>());
        }
    }

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    public void ReadsAndWritesViews(DType dtype)
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        Tensor host = Tensor.Randn([6, 5, 7], 1, dtype), device = host.To(cuda);
        Tensor[] expected = Views(host), actual = Views(device);
        for (int i = 0; i < expected.Length; i++) Numeric.AssertSameBits(expected[i].Clone(), actual[i].Clone().To(Device.Cpu));
        foreach (bool accumulate in (bool[])[false, true])
        {
            ElementwiseCopy.Copy(host.Narrow(1, 0, 2), host.Narrow(1, 3, 2), accumulate);
            ElementwiseCopy.Copy(device.Narrow(1, 0, 2), device.Narrow(1, 3, 2), accumulate);
            Numeric.AssertSameBits(host, device.To(Device.Cpu));
        }
        host.Narrow(2, 1, 3).Fill(-2.5);
        device.Narrow(2, 1, 3).Fill(-2.5);
        Numeric.AssertSameBits(host, device.To(Device.Cpu));

        static Tensor[] Views(Tensor x) => [x.Transpose(0, 2), x.Narrow(0, 2, 3), x.Narrow(2, 1, 5).Transpose(1, 2), x.View(30, 7).Narrow(0, 29, 1)];
    }

    [Fact]
    public void KeepsLargeIntegersExact()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        long[] values = [long.MaxValue, long.MinValue, (1L << 53) + 1];
        Assert.Equal(values, Tensor.From(values, [3]).To(cuda).ToArray<long>());
    }
}
