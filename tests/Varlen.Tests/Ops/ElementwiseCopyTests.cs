using Varlen.Ops;
using Xunit;

namespace Varlen.Tests.Ops;

public sealed class ElementwiseCopyTests
{
    private static readonly DType[] Types = Enum.GetValues<DType>();

    [Fact]
    public void ConvertsBetweenAllTypes()
    {
        using TensorScope scope = TensorScope.Begin();
        // Exact in every type, so that each pair must agree with the values themselves.
        double[] values = [.. Enumerable.Range(0, 77).Select(i => (double)(i * 5 % 2))];
        foreach (DType source in Types)
            foreach (DType destination in Types)
                Assert.Equal(values, Tensor.From(values, [7, 11]).To(dtype: source).To(dtype: destination).ToArray<double>());
    }

    [Fact]
    public void AddsInTheWiderType()
    {
        using TensorScope scope = TensorScope.Begin();
        foreach (DType source in Types.Where(type => type.IsFloatingPoint()))
            foreach (DType destination in Types.Where(type => type.IsFloatingPoint()))
            {
                Tensor x = Tensor.Randn([5, 19], 1, source), y = Tensor.Randn([5, 19], 2, destination);
                double[] expected = [.. x.ToArray<double>().Zip(y.ToArray<double>(), (a, b) => a + b)];
                ElementwiseCopy.Copy(x, y, accumulate: true);
                Numeric.AssertClose(Tensor.From(expected, x.Shape), y);
            }
    }

    [Fact]
    public void RoundsToNearestEven()
    {
        using TensorScope scope = TensorScope.Begin();
        // Halfway between 1 and the next brain float, then between that one and its successor; just above half; and what is not finite.
        float[] values = [1 + 1f / 256, 1 + 3f / 256, 1.00390637f, -1 - 1f / 256, float.NaN, float.PositiveInfinity, 3.4e38f, 0, -0f, 1e-40f];
        foreach (int offset in (int[])[0, 3])
        {
            float[] shifted = [.. new float[offset], .. values];
            float[] y = Tensor.From(shifted, [shifted.Length]).To(dtype: DType.BFloat16).ToArray<float>()[offset..];
            Assert.Equal(values.Select(v => (float)(BFloat16)v), y);
            Assert.Equal([1, 1 + 1f / 64, 1 + 1f / 128, -1, float.NaN, float.PositiveInfinity, float.PositiveInfinity, 0, -0f], y[..9]);
        }
    }

    [Fact]
    public void CopiesStridedViewsOnAnyNumberOfThreads()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([130, 517, 3], 3);
        float[] values = x.ToArray<float>(), turned = x.Transpose(0, 1).Clone().ToArray<float>();
        for (int i = 0; i < turned.Length; i++) Assert.Equal(values[(i / 3 % 130 * 517 + i / 390) * 3 + i % 3], turned[i]);
        Threads.AssertSameBits(() =>
        {
            Tensor y = x.Clone();
            y.Narrow(1, 100, 300).CopyFrom(x.Narrow(1, 7, 300));
            return [y, y.To(dtype: DType.Float16)];
        });
    }
}
