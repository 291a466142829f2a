using Varlen.Tests.Reference;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class PagedAttentionTests
{
    private static readonly (int, int)[] Awkward = [(1, 61), (0, 5), (7, 7), (3, 120), (1, 0), (2, 1), (1, 15), (1, 16), (1, 17), (5, 3)];

    public static TheoryData<int, DType, bool> Sizes()
    {
        var data = new TheoryData<int, DType, bool>();
        foreach (int size in (int[])[1, 3, 16, 64, 128])
            foreach (DType dtype in (DType[])[DType.Float64, DType.Float32, DType.BFloat16]) data.Add(size, dtype, size != 16);
        return data;
    }

    /// <summary>Each sequence sees its own keys, wherever they lie; all else is full of NaN and never read.</summary>
    [Theory]
    [MemberData(nameof(Sizes))]
    public void PagesHoldWhatIsPacked(int pageSize, DType dtype, bool causal)
    {
        using TensorScope scope = TensorScope.Begin();
        using var region = GradMode.NoGrad();
        foreach (AttentionAlignment alignment in (AttentionAlignment[])[AttentionAlignment.BottomRight, AttentionAlignment.TopLeft])
        {
            var paged = new PagedCase { Lengths = Awkward, PageSize = pageSize, DType = dtype, QueryHeads = 4, KeyHeads = 2, Dim = 8, Window = causal ? new(20, 0) : AttentionWindow.Full, Alignment = alignment, Softcap = causal ? 3 : null, HasSlopes = causal };
            (Tensor output, Tensor lse) = paged.Paged(Device.Cpu, dtype);
            (Tensor expected, Tensor expectedLse) = paged.Packed(DType.Float64);
            Numeric.AssertClose(expected, output, dtype == DType.BFloat16 ? 0.02 : null);
            Numeric.AssertClose(expectedLse, lse, dtype == DType.Float64 ? null : 1e-4);
        }
    }

    /// <summary>A common beginning may lie on common pages.</summary>
    [Fact]
    public void SequencesMaySharePages()
    {
        using TensorScope scope = TensorScope.Begin();
        using var region = GradMode.NoGrad();
        var paged = new PagedCase { Lengths = [(1, 40), (3, 33), (1, 49)], Shared = 2, DType = DType.Float64 };
        Numeric.AssertClose(paged.Packed(DType.Float64).Output, paged.Paged(Device.Cpu, DType.Float64).Output);
    }

    /// <summary>The rows of new tokens have the bits that they have when everything is computed again.</summary>
    [Theory]
    [InlineData(-1, 0, 16)]
    [InlineData(30, 0, 8)]
    [InlineData(-1, -1, 20)]
    public void RowsHaveTheBitsOfTheWholeSequence(int left, int right, int dim)
    {
        int seed = Numeric.FreshSeed();
        using TensorScope scope = TensorScope.Begin();
        using var region = GradMode.NoGrad();
        const int pageSize = 5, pages = 60;
        var options = new AttentionOptions { Window = new(left, right) };
        Tensor keys = Tensor.Randn([pages, pageSize, 2, dim], (ulong)seed), values = Tensor.Randn([pages, pageSize, 2, dim], (ulong)seed + 1);
        foreach (int length in (int[])[1, 47, 48, 49, 131, 300])
            foreach (int fresh in (int[])[1, 3])
            {
                if (fresh > length) continue;
                int[] table = [.. Enumerable.Range(0, pages)];
                new Random(seed + length).Shuffle(table);
                Tensor all = Tensor.Randn([length, 4, dim], (ulong)(seed + length));
                Tensor gathered = Gather(keys, table, length), gatheredValues = Gather(values, table, length);
                using SequenceLayout whole = SequenceLayout.FromLengths([length]), last = SequenceLayout.FromLengths([fresh]);
                (Tensor expected, Tensor expectedLse) = F.VarlenAttentionWithLse(all, gathered, gatheredValues, whole, whole, options);
                (Tensor actual, Tensor lse) = F.VarlenAttentionWithLse(all.Narrow(0, length - fresh, fresh), keys, values, last, new KeyPages([length], table), options);
                Numeric.AssertSameBits(expected.Narrow(0, length - fresh, fresh), actual);
                Numeric.AssertSameBits(expectedLse.Narrow(1, length - fresh, fresh).Contiguous(), lse);
            }

        Tensor Gather(Tensor cache, int[] table, int length)
        {
            Tensor packed = Tensor.Zeros([length, 2, dim]), rows = cache.View(pages * pageSize, 2, dim);
            for (int j = 0; j < length; j++) packed.Narrow(0, j, 1).CopyFrom(rows.Narrow(0, table[j / pageSize] * pageSize + j % pageSize, 1));
            return packed;
        }
    }

    /// <summary>Packed keys of which only the first count.</summary>
    [Theory]
    [InlineData(DType.Float64)]
    [InlineData(DType.Float32)]
    public void FewerKeysThanTheirPlaceHolds(DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        using var region = GradMode.NoGrad();
        int[] spans = [6, 0, 9], used = [4, 0, 9];
        using SequenceLayout queries = SequenceLayout.FromLengths([2, 1, 3]), keys = SequenceLayout.FromLengths(spans), few = SequenceLayout.FromLengths(used);
        Tensor q = Tensor.Randn([6, 2, 8], 1, dtype), k = Tensor.Randn([15, 2, 8], 2, dtype), v = Tensor.Randn([15, 2, 8], 3, dtype);
        foreach (Tensor tensor in (Tensor[])[k, v]) tensor.Narrow(0, 4, 2).CopyFrom(Tensor.Full([2, 2, 8], double.NaN, dtype));
        var options = new AttentionOptions { Window = AttentionWindow.Causal };
        (Tensor output, Tensor lse) = F.VarlenAttentionWithLse(q, k, v, queries, keys, used, options);
        (Tensor expected, Tensor expectedLse) = F.VarlenAttentionWithLse(q, Packed(k), Packed(v), queries, few, options);
        Numeric.AssertClose(expected, output);
        Numeric.AssertClose(expectedLse, lse);
        Assert.All(output.Narrow(0, 2, 1).ToArray<double>(), value => Assert.Equal(0, value));
        Assert.All(lse.Narrow(1, 2, 1).ToArray<double>(), value => Assert.Equal(double.NegativeInfinity, value));
        Assert.Contains("keyLengths[2] = 10 is not in 0..9", Assert.Throws<ArgumentException>(() => F.VarlenAttentionWithLse(q, k, v, queries, keys, [4, 0, 10], options)).Message, StringComparison.Ordinal);
        Assert.Contains("2 lengths for 3", Assert.Throws<ArgumentException>(() => F.VarlenAttentionWithLse(q, k, v, queries, keys, [4, 0], options)).Message, StringComparison.Ordinal);

        Tensor Packed(Tensor tensor)
        {
            Tensor packed = Tensor.Zeros([13, 2, 8], dtype);
            packed.Narrow(0, 0, 4).CopyFrom(tensor.Narrow(0, 0, 4));
            packed.Narrow(0, 4, 9).CopyFrom(tensor.Narrow(0, 6, 9));
            return packed;
        }
    }

    [Fact]
    public void BadArgumentsAreNamed()
    {
        using TensorScope scope = TensorScope.Begin();
        using SequenceLayout two = SequenceLayout.FromLengths([1, 1]), one = SequenceLayout.FromLengths([2]);
        Tensor query = Tensor.Ones([2, 4, 8]), cache = Tensor.Ones([3, 5, 2, 8]);
        KeyPages good = new([5, 6], [0, -7, 2, 1]);
        F.VarlenAttention(query, cache, cache, two, good);
        Assert.Contains("page 1 of sequence 1 is 3, and the cache has the pages 0 to 2", Refusal(() => F.VarlenAttention(query, cache, cache, two, new KeyPages([5, 6], [0, 0, 2, 3]))), StringComparison.Ordinal);
        Assert.Contains("page 0 of sequence 0 is -1", Refusal(() => F.VarlenAttention(query, cache, cache, two, new KeyPages([5, 6], [-1, 0, 2, 1]))), StringComparison.Ordinal);
        Assert.Contains("sequence 1 has 11 keys, and its 2 pages of 5 hold 10", Refusal(() => F.VarlenAttention(query, cache, cache, two, new KeyPages([5, 11], [0, 0, 2, 1]))), StringComparison.Ordinal);
        Assert.Contains("sequence 1 has 6 keys, and its 1 pages of 5 hold 5", Refusal(() => F.VarlenAttention(query, cache, cache, two, KeyPages.Slots([5, 6]))), StringComparison.Ordinal);
        Assert.Contains("lengths[1] = -6", Refusal(() => new KeyPages([5, -6], [0, 1])), StringComparison.Ordinal);
        Assert.Contains("3 entries for 2 sequences", Refusal(() => new KeyPages([5, 6], [0, 1, 2])), StringComparison.Ordinal);
        Assert.Contains("table is [2, 1]; expected [3, pages]", Refusal(() => KeyPages.From(Tensor.From([1, 1, 1], [3]), Tensor.From([1, 1], [2, 1]))), StringComparison.Ordinal);
        Assert.Contains("for 2 sequences, and the layout has 1", Refusal(() => F.VarlenAttention(query, cache, cache, one, good)), StringComparison.Ordinal);
        Assert.Contains("keys is [3, 5, 16]", Refusal(() => F.VarlenAttention(query, cache.View(3, 5, 16), cache, two, good)), StringComparison.Ordinal);
        Assert.Contains("values is [3, 5, 1, 8]", Refusal(() => F.VarlenAttention(query, cache, Tensor.Ones([3, 5, 1, 8]), two, good)), StringComparison.Ordinal);
        Assert.Contains("key has 2 heads, query has 3", Refusal(() => F.VarlenAttention(Tensor.Ones([2, 3, 8]), cache, cache, two, good)), StringComparison.Ordinal);
        Tensor leaf = Tensor.Ones([2, 4, 8], requiresGrad: true);
        Assert.Contains("NoGrad", Assert.Throws<InvalidOperationException>(() => F.VarlenAttention(leaf, cache, cache, two, good)).Message, StringComparison.Ordinal);

        static string Refusal(Func<object> call) => Assert.Throws<ArgumentException>(call).Message;
    }
}
