using Varlen.Nn;
using Xunit;

namespace Varlen.Tests.Tensors;

/// <summary>Drawn values, which several threads make: a value depends on the seed and on its place alone.</summary>
public sealed class RandomValuesTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(6)]
    [InlineData(16_383)]
    [InlineData(16_384)]
    [InlineData(16_385)]
    [InlineData(40_001)]
    public void The_first_values_are_those_of_more(int count)
    {
        using TensorScope scope = TensorScope.Begin();
        float[] many = Tensor.Randn([100_003], 7).ToArray<float>();
        Assert.Equal(many[..count], Tensor.Randn([count], 7).ToArray<float>());
        Assert.NotEqual(many[0], Tensor.Randn([1], 8).ToArray<float>()[0]);
    }

    [Fact]
    public void They_are_normal()
    {
        using TensorScope scope = TensorScope.Begin();
        double[] values = [.. Tensor.Randn([100_003], 11).ToArray<float>().Select(value => (double)value)];
        double mean = values.Average(), variance = values.Average(value => value * value) - mean * mean, fourth = values.Average(value => value * value * value * value);
        Assert.InRange(mean, -0.015, 0.015);
        Assert.InRange(variance, 0.98, 1.02);
        Assert.InRange(fourth, 2.85, 3.15);
        // Neighbours of all distances that blocks and chunks could join are independent.
        foreach (int distance in (int[])[1, 2, 3, 4, 16_384])
            Assert.InRange(values.Zip(values.Skip(distance), (a, b) => a * b).Average(), -0.02, 0.02);
    }

    [Fact]
    public void Those_of_a_layer_fill_their_range()
    {
        using var layer = new Linear(64, 700, bias: false, seed: 3);
        float[] values = layer.Weight.Value.ToArray<float>();
        Assert.All(values, value => Assert.InRange(value, -0.125f, 0.125f));
        Assert.InRange(values.Max(), 0.1249f, 0.125f);
        Assert.InRange(values.Min(), -0.125f, -0.1249f);
        Assert.InRange(values.Distinct().Count(), values.Length - 200, values.Length);
    }
}
