using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class JaggedAttentionTests
{
    [Fact]
    public void JaggedAttentionIsAttentionWithinEachItem()
    {
        using TensorScope scope = TensorScope.Begin();
        using SequenceLayout short_ = SequenceLayout.FromLengths([2, 0, 3]), long_ = SequenceLayout.FromLengths([4, 1, 3]);
        Tensor q = Tensor.Randn([5, 2, 4], 1, DType.Float64), k = Tensor.Randn([8, 2, 4], 2, DType.Float64), v = Tensor.Randn([8, 2, 4], 3, DType.Float64);
        JaggedTensor query = new(q, short_), key = new(k, long_), value = new(v, long_);
        foreach (bool causal in (bool[])[false, true])
        {
            JaggedTensor actual = F.ScaledDotProductAttention(query, key, value, causal);
            Assert.Same(short_, actual.Layout);
            foreach (int i in (int[])[0, 2])
            {
                Tensor dense = F.ScaledDotProductAttention(Dense(query[i]), Dense(key[i]), Dense(value[i]), isCausal: causal);
                Numeric.AssertClose(dense.Transpose(1, 2).Contiguous().View(short_.Lengths[i], 2, 4), actual[i]);
            }
        }
        Assert.Contains("value", Assert.Throws<ArgumentException>(() => F.ScaledDotProductAttention(query, key, new JaggedTensor(q, short_))).Message, StringComparison.Ordinal);
        GradCheck.Run(x => F.ScaledDotProductAttention(new JaggedTensor(x[0], short_), new JaggedTensor(x[1], long_), new JaggedTensor(x[2], long_), isCausal: true).Values, [q, k, v]);

        static Tensor Dense(Tensor item) => item.View(1, item.Shape[0], item.Shape[1], item.Shape[2]).Transpose(1, 2);
    }
}
