using Varlen.Backends.Cuda;
using Varlen.Ops;
using Xunit;

namespace Varlen.Tests.Backends.Cuda.Attention;

/// <summary>The portable backward pass in one go: head dims 64 and 128, 16-bit types, sequences above 32 tokens, atomic additions.</summary>
public sealed class OnePassAttentionTests
{
    public static TheoryData<DType, int> TypesAndDims { get; } = new((DType.BFloat16, 64), (DType.Float16, 64), (DType.BFloat16, 128), (DType.Float16, 128));

    [Theory, MemberData(nameof(TypesAndDims))]
    public void Tile_edges(DType dtype, int dim)
    {
        new AttentionCase { IsPortable = true, DType = dtype, Dim = dim, Lengths = AttentionCase.TileEdges }.AssertMatchesReference();
        new AttentionCase { IsPortable = true, DType = dtype, Dim = dim, Lengths = AttentionCase.TileEdges, QueryHeads = 4, KeyHeads = 2, Window = AttentionWindow.Causal, Tail = 3 }.AssertMatchesReference();
    }

    [Theory, MemberData(nameof(AttentionCase.Windows), MemberType = typeof(AttentionCase))]
    public void Windows_of_both_alignments(int left, int right)
    {
        foreach (AttentionAlignment alignment in new[] { AttentionAlignment.BottomRight, AttentionAlignment.TopLeft })
            foreach (int dim in new[] { 64, 128 })
                new AttentionCase { IsPortable = true, DType = DType.BFloat16, Dim = dim, Lengths = [(90, 310), (270, 200), (130, 130)], QueryHeads = 1, Window = new(left, right), Alignment = alignment }.AssertMatchesReference();
    }

    /// <summary>Scores far from the log-sum-exp's zero: keys beyond the end and rows of no key add nothing that overflows.</summary>
    [Theory]
    [InlineData(64)]
    [InlineData(128)]
    public void Large_scores(int dim)
        => new AttentionCase { IsPortable = true, DType = DType.BFloat16, Dim = dim, Scale = 4, Lengths = [(70, 40), (40, 70), (129, 65)], Window = AttentionWindow.Causal }.AssertMatchesReference();

    [Theory]
    [InlineData(64)]
    [InlineData(128)]
    public void Nothing_of_a_neighbour_is_read_or_overwritten(int dim)
    {
        // The sequence between is NaN throughout, and so is what lies behind the last one.
        (int Queries, int Keys)[] lengths = [(40, 90), (70, 70), (130, 50), (33, 33), (65, 140)];
        int query = 40 * 2 * dim, queries = 70 * 2 * dim, key = 90 * dim, keys = 70 * dim;
        AttentionCase.Results expected = Case(null).Run(TestDevices.Cuda()), actual = Case((q, k, v, dy) =>
        {
            foreach (double[] x in new[] { q, dy }) x.AsSpan(query, queries).Fill(double.NaN);
            foreach (double[] x in new[] { k, v }) x.AsSpan(key, keys).Fill(double.NaN);
            foreach (double[] x in new[] { q, k, v, dy }) x.AsSpan(x.Length - (5 * dim)).Fill(double.NaN);
        }).Run(TestDevices.Cuda());
        Assert.Equal(Without(expected.DKey, key, keys), Without(actual.DKey, key, keys));
        Assert.Equal(Without(expected.DValue, key, keys), Without(actual.DValue, key, keys));
        double[] e = Without(expected.DQuery, query, queries), a = Without(actual.DQuery, query, queries);
        // Sums of atomic additions, whose order may differ.
        for (int i = 0; i < e.Length; i++) Assert.Equal(e[i], a[i], 1.0 / 64 * Math.Max(1, Math.Abs(e[i])));

        AttentionCase Case(Action<double[], double[], double[], double[]>? poison) => new() { IsPortable = true, DType = DType.BFloat16, Dim = dim, Lengths = lengths, Tail = 5, Seed = 11, Poison = poison };
        static double[] Without(double[] values, int start, int count) => [.. values[..start], .. values[(start + count)..]];
    }

    [Fact]
    public void The_choice_is_explained()
    {
        Device device = TestDevices.Cuda();
        using var only = new PortableKernels(device);
        using TensorScope scope = TensorScope.Begin();
        using SequenceLayout layout = SequenceLayout.FromLengths([70]);
        Assert.Contains("in one pass with atomic additions", Explain(DType.BFloat16, 64, false), StringComparison.Ordinal);
        Assert.Contains("backward in two kernels for deterministic mode", Explain(DType.BFloat16, 64, true), StringComparison.Ordinal);
        Assert.Contains("backward in two kernels for single precision", Explain(DType.Float32, 64, false), StringComparison.Ordinal);
        Assert.Contains("backward in two kernels for head dim 80", Explain(DType.BFloat16, 80, false), StringComparison.Ordinal);

        string Explain(DType dtype, int dim, bool deterministic)
        {
            Tensor x = Tensor.Zeros([70, 1, dim], dtype, device);
            return ((CudaBackend)device.Backend).ExplainAttention(new AttentionCall(layout, layout, new AttentionOptions { Deterministic = deterministic }, 1), x, x, x);
        }
    }

    [Theory]
    [InlineData(64)]
    [InlineData(128)]
    public void Every_length_up_to_300(int dim)
    {
        TestDevices.RealCuda();
        new AttentionCase { IsPortable = true, DType = DType.BFloat16, Dim = dim, Lengths = [.. Enumerable.Range(1, 300).Select(l => (l, l))], QueryHeads = 2 }.AssertNearSinglePrecision();
        new AttentionCase { IsPortable = true, DType = DType.BFloat16, Dim = dim, Lengths = [.. Enumerable.Range(1, 300).Select(l => (l, 301 - l))], QueryHeads = 1, Window = AttentionWindow.Causal }.AssertNearSinglePrecision();
        int[] edges = [63, 64, 65, 127, 128, 129, 191, 192, 193, 255, 256, 257];
        new AttentionCase { IsPortable = true, DType = DType.BFloat16, Dim = dim, Lengths = [.. from q in edges from k in edges select (q, k)], QueryHeads = 1, Window = AttentionWindow.Causal, Alignment = AttentionAlignment.TopLeft }.AssertNearSinglePrecision();
        new AttentionCase { IsPortable = true, DType = DType.BFloat16, Dim = dim, Lengths = [(2100, 2100), (50, 50), (2305, 3000)], QueryHeads = 4, KeyHeads = 2, Window = new(900, 40) }.AssertNearSinglePrecision();
    }
}
