// Attention over packed sequences: where they lie, windows, the log-sum-exp, and gradients.
using Varlen;
using F = Varlen.Nn.Functional;

using var layout = SequenceLayout.FromLengths([5, 3, 7]);           // three sequences, 15 tokens
Console.WriteLine($"cu_seqlens: [{string.Join(", ", layout.CuSeqlens.ToArray())}], longest {layout.MaxLength}");

using (TensorScope.Begin())                                          // all the memory management there is
{
    Tensor q = Tensor.Randn([layout.TotalTokens, 12, 64], seed: 1, requiresGrad: true);
    Tensor k = Tensor.Randn([layout.TotalTokens, 4, 64], seed: 2, requiresGrad: true);   // 12 query heads share 4 key heads
    Tensor v = Tensor.Randn([layout.TotalTokens, 4, 64], seed: 3, requiresGrad: true);

    Tensor y = F.VarlenAttention(q, k, v, layout, AttentionWindow.Causal);               // [15, 12, 64]
    y.Sum().Backward();
    float[] dq = q.Grad!.ToArray<float>();
    Console.WriteLine($"output {y.Shape}, its gradient reaches {dq.Length} values of the queries");
}

// The same call in the form that passes offsets and maxima; a window of (2, 0) sees the token itself and two before it.
using (TensorScope.Begin())
{
    Tensor q = Tensor.Randn([15, 4, 64], seed: 1), k = Tensor.Randn([15, 4, 64], seed: 2), v = Tensor.Randn([15, 4, 64], seed: 3);
    Tensor cuSeqlens = Tensor.From([0, 5, 8, 15], [4]);
    Tensor y = F.VarlenAttention(q, k, v, cuSeqlens, cuSeqlens, 7, 7, new AttentionOptions { Window = new(left: 2, right: 0), Softcap = 30 });

    // A sequence gives the same bits alone as in any batch.
    using var alone = SequenceLayout.FromLengths([3]);
    Tensor part = F.VarlenAttention(q.Narrow(0, 5, 3), k.Narrow(0, 5, 3), v.Narrow(0, 5, 3), alone, alone, new AttentionOptions { Window = new(left: 2, right: 0), Softcap = 30 });
    Console.WriteLine($"the second sequence alone has the same bits: {part.ToArray<float>().SequenceEqual(y.Narrow(0, 5, 3).ToArray<float>())}");
}

// The log-sum-exp joins attention to two parts of the keys: each part counts by the weight of its scores.
using (TensorScope.Begin())
{
    using SequenceLayout queries = SequenceLayout.FromLengths([6, 2]), keys = SequenceLayout.FromLengths([4, 3]), all = SequenceLayout.FromLengths([8, 6]);
    Tensor q = Tensor.Randn([8, 2, 32], seed: 1), k = Tensor.Randn([14, 2, 32], seed: 2), v = Tensor.Randn([14, 2, 32], seed: 3);
    Tensor First(Tensor x) => F.Concat(x.Narrow(0, 0, 4), x.Narrow(0, 8, 3));
    Tensor Second(Tensor x) => F.Concat(x.Narrow(0, 4, 4), x.Narrow(0, 11, 3));

    (Tensor first, Tensor firstLse) = F.VarlenAttentionWithLse(q, First(k), First(v), queries, keys);
    (Tensor second, Tensor secondLse) = F.VarlenAttentionWithLse(q, Second(k), Second(v), queries, keys);
    Tensor share = F.Sigmoid(firstLse - secondLse).Transpose(0, 1).Contiguous().View(8, 2, 1);
    Tensor joined = first * share + second * (1 - share);

    Tensor whole = F.VarlenAttention(q, k, v, queries, all);
    double difference = joined.ToArray<float>().Zip(whole.ToArray<float>(), (a, b) => Math.Abs(a - b)).Max();
    Console.WriteLine($"two halves of the keys, joined by their log-sum-exp, differ from the whole by less than 1e-5: {difference < 1e-5}");
}
