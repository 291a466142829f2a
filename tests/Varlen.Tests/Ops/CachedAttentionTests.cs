using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class CachedAttentionTests
{
    /// <summary>Each sequence's new tokens see its own filled keys; what lies beyond is full of NaN and never read.</summary>
    [Theory]
    [InlineData(DType.Float64, true)]
    [InlineData(DType.Float32, true)]
    [InlineData(DType.Float32, false)]
    [InlineData(DType.BFloat16, true)]
    public void EqualsAttentionOverTheKeysAlone(DType dtype, bool causal)
    {
        int seed = Numeric.FreshSeed();
        using TensorScope scope = TensorScope.Begin();
        using var region = GradMode.NoGrad();
        int[] fresh = [1, 0, 7, 3], filled = [61, 5, 7, 120];
        const int capacity = 128;
        var options = new AttentionOptions { Window = causal ? AttentionWindow.Causal : AttentionWindow.Full, Scale = 0.3 };
        Tensor query = Tensor.Randn([11, 4, 8], (ulong)seed, dtype), keys = Tensor.Full([4, capacity, 2, 8], double.NaN, dtype), values = Tensor.Full([4, capacity, 2, 8], double.NaN, dtype);
        using SequenceLayout layout = SequenceLayout.FromLengths(fresh);
        for (int i = 0; i < 4; i++)
        {
            Slot(keys, i).CopyFrom(Tensor.Randn([1, filled[i], 2, 8], (ulong)(seed + 1 + i), dtype));
            Slot(values, i).CopyFrom(Tensor.Randn([1, filled[i], 2, 8], (ulong)(seed + 9 + i), dtype));
        }
        Tensor actual = F.CachedAttention(query, keys, values, layout, filled, options);
        for (int i = 0; i < 4; i++)
        {
            using SequenceLayout own = SequenceLayout.FromLengths([fresh[i]]), seen = SequenceLayout.FromLengths([filled[i]]);
            (int start, int length) = layout[i];
            Tensor expected = F.VarlenAttention(query.Narrow(0, start, length), Slot(keys, i).View(filled[i], 2, 8), Slot(values, i).View(filled[i], 2, 8), own, seen, options);
            Numeric.AssertClose(expected, actual.Narrow(0, start, length));
        }

        Tensor Slot(Tensor cache, int i) => cache.Narrow(0, i, 1).Narrow(1, 0, filled[i]);
    }

    [Fact]
    public void BadArgumentsAreNamed()
    {
        using TensorScope scope = TensorScope.Begin();
        using SequenceLayout two = SequenceLayout.FromLengths([1, 1]), one = SequenceLayout.FromLengths([2]);
        Tensor query = Tensor.Ones([2, 4, 8]), cache = Tensor.Ones([2, 5, 2, 8]);
        Assert.Contains("keyLengths[1] = 6 is not in 0..5", Refusal(() => F.CachedAttention(query, cache, cache, two, [5, 6])), StringComparison.Ordinal);
        Assert.Contains("1 lengths for 2", Refusal(() => F.CachedAttention(query, cache, cache, two, [5])), StringComparison.Ordinal);
        Assert.Contains("1 sequences, the cache 2", Refusal(() => F.CachedAttention(query, cache, cache, one, [5, 5])), StringComparison.Ordinal);
        Assert.Contains("keys is [2, 5, 16]", Refusal(() => F.CachedAttention(query, cache.View(2, 5, 16), cache, two, [5, 5])), StringComparison.Ordinal);
        Assert.Contains("values is [2, 5, 1, 8]", Refusal(() => F.CachedAttention(query, cache, Tensor.Ones([2, 5, 1, 8]), two, [5, 5])), StringComparison.Ordinal);
        Assert.Contains("key has 2 heads, query has 3", Refusal(() => F.CachedAttention(Tensor.Ones([2, 3, 8]), cache, cache, two, [5, 5])), StringComparison.Ordinal);
        Tensor leaf = Tensor.Ones([2, 4, 8], requiresGrad: true);
        Assert.Contains("NoGrad", Assert.Throws<InvalidOperationException>(() => F.CachedAttention(leaf, cache, cache, two, [5, 5])).Message, StringComparison.Ordinal);

        static string Refusal(Func<Tensor> call) => Assert.Throws<ArgumentException>(call).Message;
    }

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
