using Xunit;

namespace Varlen.Tests.Data;

public sealed class JaggedTensorTests
{
    [Fact]
    public void PacksAndUnpacksItems()
    {
        using TensorScope scope = TensorScope.Begin();
        JaggedTensor jagged = JaggedTensor.FromTensors(Tensor.From([1f, 2], [1, 2]), Tensor.From([3f, 4, 5, 6], [2, 2]), Tensor.Empty([0, 2]));
        Assert.Equal([1, 2, 0], jagged.Layout.Lengths.ToArray());
        Assert.Equal([3f, 4, 5, 6], jagged[1].ToArray<float>());
        Assert.Equal([1, 2, -1, -1, 3, 4, 5, 6, -1, -1, -1, -1], jagged.ToPadded(-1).ToArray<float>());
        Assert.Equal([3, 4, 2], jagged.ToPadded(length: 4).Shape.Dimensions.ToArray());
        JaggedTensor back = JaggedTensor.FromPadded(jagged.ToPadded(double.NaN, 3), jagged.Layout);
        Numeric.AssertSameBits(jagged.Values, back.Values);
        Assert.Equal(3, jagged.Unbind().Length);
        jagged.Layout.Dispose();
    }

    [Fact]
    public void ConversionsAreDifferentiable()
    {
        using TensorScope scope = TensorScope.Begin();
        using SequenceLayout layout = SequenceLayout.FromLengths([2, 0, 3]);
        GradCheck.Run(x => new JaggedTensor(x[0], layout).ToPadded(length: 4), [Tensor.Randn([5, 2], 1, DType.Float64)]);
        GradCheck.Run(x => JaggedTensor.FromPadded(x[0], layout).Values, [Tensor.Randn([3, 4, 2], 2, DType.Float64)]);
        GradCheck.Run(x =>
        {
            JaggedTensor jagged = JaggedTensor.FromTensors(x);
            jagged.Layout.Dispose();
            return jagged.Values;
        }, [Tensor.Randn([2, 3], 3, DType.Float64), Tensor.Randn([0, 3], 4, DType.Float64), Tensor.Randn([1, 3], 5, DType.Float64)]);
    }

    [Fact]
    public void MisfitsAreNamed()
    {
        using TensorScope scope = TensorScope.Begin();
        using SequenceLayout layout = SequenceLayout.FromLengths([2, 3]);
        Assert.Contains("values are [4, 1], the layout covers 5 tokens", Assert.Throws<ArgumentException>(() => new JaggedTensor(Tensor.Ones([4, 1]), layout)).Message, StringComparison.Ordinal);
        Assert.Contains("rows of 2 columns cannot hold a sequence of 3 tokens", Assert.Throws<ArgumentException>(() => JaggedTensor.FromPadded(Tensor.Ones([2, 2]), layout)).Message, StringComparison.Ordinal);
        Assert.Contains("rows of 2 columns cannot hold a sequence of 3 tokens", Assert.Throws<ArgumentException>(() => new JaggedTensor(Tensor.Ones([5, 1]), layout).ToPadded(length: 2)).Message, StringComparison.Ordinal);
        Assert.Contains("tensor 1 is [1, 3], tensor 0 is [1, 2]", Assert.Throws<ArgumentException>(() => JaggedTensor.FromTensors(Tensor.Ones([1, 2]), Tensor.Ones([1, 3]))).Message, StringComparison.Ordinal);
    }
}
