using Xunit;

namespace Varlen.Tests.Tensors;

public sealed class TensorViewTests
{
    [Fact]
    public void AChunkOfAFusedProjectionIsViewedAsHeadsWithoutACopy()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor qkv = Tensor.From(Enumerable.Range(0, 2 * 12).Select(i => (float)i).ToArray(), [2, 12]);
        Tensor k = qkv.Chunk(3)[1].View(2, 2, 2);
        Assert.Equal([12, 2, 1], k.Strides.ToArray());
        Assert.Equal([4, 5, 6, 7, 16, 17, 18, 19], k.ToArray<float>());
        Assert.Same(qkv.Storage, k.Storage);
    }

    [Fact]
    public void ViewRefusesWhatNeedsACopyAndReshapeMakesIt()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor transposed = Tensor.From([0, 1, 2, 3, 4, 5], [2, 3]).Transpose(0, 1);
        Assert.Contains("use Reshape", Assert.Throws<ArgumentException>(() => transposed.View(6)).Message, StringComparison.Ordinal);
        Assert.Equal([0, 3, 1, 4, 2, 5], transposed.Reshape(-1).ToArray<int>());
        Assert.Contains("has 6 elements, [4] has 4", Assert.Throws<ArgumentException>(() => transposed.Reshape(4)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void RandomViewsReadTheSameElementsAsIndexing()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        for (int round = 0; round < 200; round++)
        {
            using TensorScope scope = TensorScope.Begin();
            int[] sizes = [random.Next(1, 4), random.Next(1, 5), random.Next(1, 4), random.Next(1, 3)];
            int count = sizes.Aggregate(1, (a, b) => a * b);
            Tensor view = Tensor.From(Enumerable.Range(0, count).ToArray(), new Shape(sizes)).Transpose(random.Next(4), random.Next(4)).Narrow(1, 0, 1);
            int[] expected = Elements(view);
            Assert.True(expected.SequenceEqual(view.ToArray<int>()), $"seed {seed}, round {round}");
            Assert.True(expected.SequenceEqual(view.Reshape(-1, 1).ToArray<int>()), $"seed {seed}, round {round}");
            Assert.True(expected.SequenceEqual(view.Contiguous().ToArray<long>().Select(x => (int)x)), $"seed {seed}, round {round}");
        }

        static unsafe int[] Elements(Tensor tensor)
        {
            var found = new List<int>();
            Walk(0, 0);
            return [.. found];

            void Walk(int axis, long offset)
            {
                if (axis == tensor.Shape.Rank) found.Add(tensor.Data<int>()[offset]);
                else
                    for (int i = 0; i < tensor.Shape[axis]; i++) Walk(axis + 1, offset + i * tensor.Strides[axis]);
            }
        }
    }

    [Theory]
    [InlineData(DType.Float64)]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    [InlineData(DType.Int32)]
    [InlineData(DType.Int64)]
    public void ConvertsSmallIntegersExactlyBetweenAllTypes(DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        double[] values = [-3, 0, 1, 2, 100, 127];
        Tensor converted = Tensor.From(values, [2, 3]).To(dtype: dtype);
        Assert.Equal(values, converted.ToArray<double>());
        foreach (DType other in Enum.GetValues<DType>().Where(type => type != DType.Bool))
            Assert.Equal(values, converted.Transpose(0, 1).To(dtype: other).Transpose(0, 1).ToArray<double>());
    }

    [Fact]
    public void BFloat16RoundsToNearestEvenAndKeepsNaN()
    {
        Assert.Equal(1f, (float)(BFloat16)(1f + 1f / 256));
        Assert.Equal(1f + 1f / 64, (float)(BFloat16)(1f + 3f / 256));
        Assert.True(float.IsNaN((BFloat16)float.NaN));
        Assert.Equal(float.NegativeInfinity, (float)(BFloat16)float.NegativeInfinity);
    }
}
