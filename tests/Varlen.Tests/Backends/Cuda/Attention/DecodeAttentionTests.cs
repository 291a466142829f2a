using Varlen.Tests.Reference;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Backends.Cuda.Attention;

/// <summary>Attention over cached keys on a GPU: few queries, parts of long sequences, pages.</summary>
public sealed class DecodeAttentionTests
{
    private static readonly (int, int)[] Awkward = [(1, 61), (0, 5), (7, 7), (3, 120), (1, 0), (2, 1), (1, 15), (1, 16), (1, 17), (16, 33), (1, 300), (20, 40), (1, 1), (5, 3)];

    [Theory]
    [InlineData(DType.Float32, 1, 16, 4, 2)]
    [InlineData(DType.BFloat16, 3, 32, 4, 1)]
    [InlineData(DType.Float16, 16, 64, 4, 4)]
    [InlineData(DType.BFloat16, 64, 64, 6, 2)]
    [InlineData(DType.Float32, 128, 60, 3, 1)]
    [InlineData(DType.BFloat16, 16, 20, 2, 1)]
    [InlineData(DType.BFloat16, 16, 128, 2, 1)]
    [InlineData(DType.Float32, 16, 256, 2, 1)]
    [InlineData(DType.Float16, 7, 192, 20, 1)]
    public void Pages_of_any_size(DType dtype, int pageSize, int dim, int heads, int keyHeads)
        => Check(new PagedCase { Lengths = Awkward, PageSize = pageSize, DType = dtype, Dim = dim, QueryHeads = heads, KeyHeads = keyHeads });

    [Theory]
    [InlineData(-1, -1, AttentionAlignment.BottomRight, false)]
    [InlineData(20, 0, AttentionAlignment.BottomRight, true)]
    [InlineData(5, 3, AttentionAlignment.TopLeft, true)]
    [InlineData(-1, 0, AttentionAlignment.TopLeft, false)]
    [InlineData(300, 0, AttentionAlignment.BottomRight, false)]
    public void Windows_and_scores(int left, int right, AttentionAlignment alignment, bool features)
    {
        foreach (DType dtype in (DType[])[DType.Float32, DType.BFloat16])
            Check(new PagedCase { Lengths = [.. Awkward, (1, 700), (2, 515)], PageSize = 16, DType = dtype, Dim = 32, QueryHeads = 4, KeyHeads = 2, Window = new(left, right), Alignment = alignment, Softcap = features ? 3 : null, HasSlopes = features });
    }

    [Fact]
    public void Common_beginnings_lie_on_common_pages()
        => Check(new PagedCase { Lengths = [(1, 40), (3, 33), (1, 300), (17, 64)], Shared = 2, DType = DType.BFloat16, Dim = 64 });

    /// <summary>A sequence's bits are the same alone and among others, and on any pages: how it is cut depends on its own lengths.</summary>
    [Theory]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float32)]
    public void A_sequence_is_the_same_alone(DType dtype)
    {
        Device device = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        using var region = GradMode.NoGrad();
        int[] lengths = [600, 5, 257, 31];
        Tensor query = Tensor.Randn([4, 4, 32], 1, dtype, device), keys = Tensor.Randn([1000, 2, 32], 2, dtype, device), values = Tensor.Randn([1000, 2, 32], 3, dtype, device);
        var options = new AttentionOptions { Window = AttentionWindow.Causal };
        using SequenceLayout four = SequenceLayout.FromLengths([1, 1, 1, 1]), one = SequenceLayout.FromLengths([1]);
        (Tensor output, Tensor lse) = F.VarlenAttentionWithLse(query, keys.View(200, 5, 2, 32), values.View(200, 5, 2, 32), four, new KeyPages(lengths, [.. lengths.SelectMany((_, i) => Enumerable.Range(0, 120).Select(page => page + 20 * i))]), options);
        for (int i = 0; i < 4; i++)
        {
            (Tensor own, Tensor ownLse) = F.VarlenAttentionWithLse(query.Narrow(0, i, 1), keys.Narrow(0, 100 * i, 600).View(1, 600, 2, 32), values.Narrow(0, 100 * i, 600).View(1, 600, 2, 32), one, KeyPages.Slots([lengths[i]]), options);
            Numeric.AssertSameBits(output.Narrow(0, i, 1), own);
            Numeric.AssertSameBits(lse.Narrow(1, i, 1).Contiguous(), ownLse);
        }
    }

    [Fact]
    public void Explains_itself()
    {
        string text = new PagedCase { Lengths = [(1, 600), (20, 40)], DType = DType.BFloat16, Dim = 64 }.Explain(TestDevices.Cuda());
        Assert.Contains("1 sequences of up to 16 queries over a cache on the decoding kernel, 3 parts of their keys on pages of 16", text, StringComparison.Ordinal);
        Assert.Contains("keys on pages; portable kernels", text, StringComparison.Ordinal);
    }

    private static void Check(PagedCase paged)
    {
        Device device = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        using var region = GradMode.NoGrad();
        (Tensor expected, Tensor expectedLse) = paged.Packed(DType.Float64);
        (Tensor output, Tensor lse) = paged.Paged(device, paged.DType);
        double[] e = expected.ToArray<double>(), a = output.ToArray<double>();
        double scale = Math.Max(1, e.Select(Math.Abs).Max());
        // In 16 bits weights and results are rounded by half a unit each, and errors of a row's weights add up, which a factor of two covers.
        double limit = paged.DType switch { DType.Float32 => 3e-5, DType.BFloat16 => 1.0 / 128, _ => 1.0 / 1024 } * scale;
        for (int i = 0; i < e.Length; i++) Assert.True(Math.Abs(e[i] - a[i]) <= limit, $"{paged}: output {i} is {a[i]:R}, expected {e[i]:R}");
        double[] el = expectedLse.ToArray<double>(), al = lse.ToArray<double>();
        for (int i = 0; i < el.Length; i++) Assert.True(el[i].Equals(al[i]) || Math.Abs(el[i] - al[i]) <= 1e-4 * Math.Max(1, Math.Abs(el[i])), $"{paged}: log-sum-exp {i} is {al[i]:R}, expected {el[i]:R}");
    }
}
