using Xunit;

namespace Varlen.Tests.Tensors;

public sealed class ConversionTests
{
    /// <summary>Every 16-bit pattern, the halves between neighbours, and their neighbours in single precision.</summary>
    private static float[] Values(Func<ushort, float> decode)
    {
        List<float> values = [float.NaN, float.MaxValue, float.MinValue, float.Epsilon, BitConverter.UInt32BitsToSingle(0x7FFFFFFF), BitConverter.UInt32BitsToSingle(0xFF800001)];
        for (int bits = 0; bits < 65536; bits++)
        {
            float value = decode((ushort)bits), next = decode((ushort)(bits + 1)), middle = value + (next - value) / 2;
            values.AddRange([value, middle, MathF.BitIncrement(middle), MathF.BitDecrement(middle)]);
        }
        values.Add(1);
        return [.. values];
    }

    [Fact]
    public void BFloat16RoundsAsTheScalarDoes()
    {
        using TensorScope scope = TensorScope.Begin();
        float[] values = Values(bits => BFloat16.FromBits(bits));
        BFloat16[] actual = Tensor.From(values, [values.Length]).To(dtype: DType.BFloat16).ToArray<BFloat16>();
        for (int i = 0; i < values.Length; i++) Assert.Equal(((BFloat16)values[i]).Bits, actual[i].Bits);
        float[] back = Tensor.From(actual, [actual.Length]).To(dtype: DType.Float32).ToArray<float>();
        for (int i = 0; i < values.Length; i++) Assert.Equal((float)actual[i], back[i]);
    }

    [Fact]
    public void HalfRoundsAsTheScalarDoes()
    {
        using TensorScope scope = TensorScope.Begin();
        float[] values = Values(bits => (float)BitConverter.UInt16BitsToHalf(bits));
        Half[] actual = Tensor.From(values, [values.Length]).To(dtype: DType.Float16).ToArray<Half>();
        for (int i = 0; i < values.Length; i++)
            if (float.IsNaN(values[i])) Assert.True(Half.IsNaN(actual[i]));
            else Assert.Equal(BitConverter.HalfToUInt16Bits((Half)values[i]), BitConverter.HalfToUInt16Bits(actual[i]));
        float[] back = Tensor.From(actual, [actual.Length]).To(dtype: DType.Float32).ToArray<float>();
        for (int i = 0; i < values.Length; i++) Assert.Equal((float)actual[i], back[i]);
    }
}
