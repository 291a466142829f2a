using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class ScaledDotProductAttentionTests
{
    private static Tensor Draw(Shape shape, ulong seed, DType dtype = DType.Float64) => Tensor.Randn(shape, seed, dtype);

    /// <summary>Dense attention over padded rows, with the padding hidden, is packed attention.</summary>
    [Theory]
    [InlineData(DType.Float64, false)]
    [InlineData(DType.Float64, true)]
    [InlineData(DType.Float32, false)]
    [InlineData(DType.Float32, true)]
    public void PaddedWithAMaskEqualsPacked(DType dtype, bool causal)
    {
        using TensorScope scope = TensorScope.Begin();
        int[] lengths = [5, 17, 1];
        using SequenceLayout layout = SequenceLayout.FromLengths(lengths);
        Tensor[] packed = [.. Enumerable.Range(0, 3).Select(i => Draw([layout.TotalTokens, 2, 8], (ulong)i, dtype))];
        foreach (Tensor x in packed) x.RequiresGrad = true;
        Tensor expected = F.VarlenAttention(packed[0], packed[1], packed[2], layout, causal ? AttentionWindow.Causal : AttentionWindow.Full);
        Tensor dy = Draw(expected.Shape, 9, dtype);
        expected.Backward(dy);
        Tensor[] gradients = [.. packed.Select(x => x.Grad!.Clone())];
        foreach (Tensor x in packed) x.ZeroGrad();

        // NaN in the padding of keys and values: a masked key must not be read into any product.
        Tensor[] padded = [.. packed.Select((x, i) => new JaggedTensor(x, layout).ToPadded(i == 0 ? 0 : double.NaN).Transpose(1, 2))];
        bool[] real = [.. lengths.SelectMany(length => Enumerable.Range(0, layout.MaxLength).Select(j => j < length))];
        Tensor mask = Tensor.From(real, [3, 1, 1, layout.MaxLength]);
        Tensor dense = F.ScaledDotProductAttention(padded[0], padded[1], padded[2], mask, causal);
        Tensor actual = JaggedTensor.FromPadded(dense.Transpose(1, 2), layout).Values;
        Numeric.AssertClose(expected, actual);
        actual.Backward(dy);
        for (int i = 0; i < 3; i++) Numeric.AssertClose(gradients[i], packed[i].Grad!);
    }

    [Fact]
    public void CausalIsAlignedTopLeftAndMaskAndCausalBothApply()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor q = Tensor.Zeros([1, 1, 3, 1]), k = Tensor.Zeros([1, 1, 4, 1]), v = Tensor.From([1f, 10, 100, 1000], [1, 1, 4, 1]);
        Assert.Equal([1, 5.5f, 37], F.ScaledDotProductAttention(q, k, v, isCausal: true).ToArray<float>());
        Tensor mask = Tensor.From([false, true, true, true], [4]);
        Assert.Equal([0, 10, 55], F.ScaledDotProductAttention(q, k, v, mask, isCausal: true).ToArray<float>());
        Tensor additive = Tensor.From([float.NegativeInfinity, 0, 0, 0], [1, 4]);
        Assert.Equal([0, 10, 55], F.ScaledDotProductAttention(q, k, v, additive, isCausal: true).ToArray<float>());
    }

    [Theory]
    [InlineData("none")]
    [InlineData("bool")]
    [InlineData("additive")]
    public void GradientsMatchFiniteDifferences(string maskKind)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor? mask = maskKind switch
        {
            "bool" => Tensor.From([true, false, true, true, true, false, false, false, false, true, true, true], [3, 4]),
            "additive" => Draw([2, 1, 3, 4], 5),
            _ => null,
        };
        GradCheck.Run(x => F.ScaledDotProductAttention(x[0], x[1], x[2], mask, isCausal: false, scale: 0.4),
            [Draw([2, 4, 3, 2], 1), Draw([2, 2, 4, 2], 2), Draw([2, 2, 4, 2], 3)]);
    }

    [Fact]
    public void BadMasksAreNamed()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor q = Tensor.Ones([2, 4, 3, 8]);
        Assert.Contains("mask [5] cannot be broadcast to [batch, heads, queries, keys] = [2, 4, 3, 3]",
            Assert.Throws<ArgumentException>(() => F.ScaledDotProductAttention(q, q, q, Tensor.Ones([5], DType.Bool))).Message, StringComparison.Ordinal);
        Assert.Contains("mask is Int32", Assert.Throws<ArgumentException>(() => F.ScaledDotProductAttention(q, q, q, Tensor.Ones([3], DType.Int32))).Message, StringComparison.Ordinal);
        Assert.Contains("key has batch 1, query has 2", Assert.Throws<ArgumentException>(() => F.ScaledDotProductAttention(q, Tensor.Ones([1, 4, 3, 8]), Tensor.Ones([1, 4, 3, 8]))).Message, StringComparison.Ordinal);
    }
}
