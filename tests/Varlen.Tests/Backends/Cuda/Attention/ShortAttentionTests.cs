using Varlen.Backends.Cuda;
using Varlen.Ops;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Backends.Cuda.Attention;

/// <summary>The kernels that hold a whole sequence of up to 64 tokens in one block: 16-bit types, head dims up to 128.</summary>
public sealed class ShortAttentionTests
{
    // Around the rows of one, two, three and four warps.
    private static readonly int[] Edges = [0, 1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65];

    public static TheoryData<DType, int> TypesAndDims { get; } = new((DType.BFloat16, 64), (DType.Float16, 64), (DType.BFloat16, 128), (DType.Float16, 128));

    [Theory, MemberData(nameof(TypesAndDims))]
    public void Group_edges(DType dtype, int dim)
    {
        TestDevices.Cuda();
        (int, int)[] squares = [.. Edges.Select(l => (l, l))], crossed = [.. Edges.Select((l, i) => (l, Edges[(i * 5 + 3) % Edges.Length]))];
        new AttentionCase { DType = dtype, Dim = dim, Lengths = crossed, QueryHeads = 1 }.AssertMatchesReference();
        new AttentionCase { DType = dtype, Dim = dim, Lengths = squares, QueryHeads = 2, KeyHeads = 2, Window = AttentionWindow.Causal, Tail = 3 }.AssertMatchesReference();
    }

    [Theory]
    [InlineData(64)]
    [InlineData(128)]
    public void Every_pair_of_edges_and_every_length(int dim)
    {
        TestDevices.RealCuda();
        foreach (AttentionWindow window in new[] { AttentionWindow.Full, AttentionWindow.Causal, new(5, 3) })
        {
            new AttentionCase { DType = DType.BFloat16, Dim = dim, Lengths = [.. from q in Edges from k in Edges select (q, k)], QueryHeads = 2, KeyHeads = 2, Window = window }.AssertNearSinglePrecision();
            new AttentionCase { DType = DType.Float16, Dim = dim, Lengths = [.. Enumerable.Range(0, 66).Select(l => (l, l))], QueryHeads = 3, KeyHeads = 1, Window = window }.AssertNearSinglePrecision();
            new AttentionCase { DType = DType.BFloat16, Dim = dim, Lengths = [.. Enumerable.Range(0, 66).Select(l => (l, 65 - l))], QueryHeads = 1, Window = window, Alignment = AttentionAlignment.TopLeft }.AssertNearSinglePrecision();
        }
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(1, 0)]
    [InlineData(0, 1)]
    [InlineData(8, 2)]
    [InlineData(-1, 4)]
    [InlineData(20, -1)]
    [InlineData(40, 9)]
    [InlineData(int.MaxValue, int.MaxValue)]
    public void Windows_of_both_alignments(int left, int right)
    {
        TestDevices.Cuda();
        foreach (AttentionAlignment alignment in new[] { AttentionAlignment.BottomRight, AttentionAlignment.TopLeft })
            new AttentionCase { DType = DType.BFloat16, Dim = 64, Lengths = [(9, 14), (50, 12), (12, 64), (30, 30), (64, 40)], QueryHeads = 1, Window = new(left, right), Alignment = alignment }.AssertMatchesReference();
    }

    [Theory]
    [InlineData(8, 2, 2)]
    [InlineData(32, 4, 1)]
    [InlineData(40, 3, 3)]
    [InlineData(64, 6, 2)]
    [InlineData(96, 2, 2)]
    [InlineData(104, 2, 1)]
    [InlineData(128, 4, 2)]
    public void Head_dims_and_groups(int dim, int queryHeads, int keyHeads)
        => new AttentionCase { DType = DType.BFloat16, Dim = dim, Lengths = [(14, 14), (0, 9), (30, 25), (8, 8), (60, 50), (5, 0), (40, 64)], QueryHeads = queryHeads, KeyHeads = keyHeads, Window = AttentionWindow.Causal }.AssertMatchesReference();

    [Fact]
    public void Random_cases()
    {
        TestDevices.Cuda();
        var random = new Random(Numeric.FreshSeed());
        int cases = TestDevices.IsSlow ? 4 : 500;
        for (int i = 0; i < cases; i++)
        {
            int keyHeads = random.Next(1, 4), longest = random.Next(4) switch { 0 => 17, 1 => 33, _ => 66 };
            var made = new AttentionCase
            {
                DType = random.Next(2) == 0 ? DType.BFloat16 : DType.Float16, Dim = random.Next(2) == 0 ? 64 : 128, KeyHeads = keyHeads, QueryHeads = keyHeads * random.Next(1, 3), Seed = random.Next(), Tail = random.Next(3),
                Lengths = [.. Enumerable.Range(0, random.Next(1, 7)).Select(_ => (random.Next(longest), random.Next(longest)))],
                Window = new(random.Next(3) == 0 ? random.Next(longest) : -1, random.Next(2) == 0 ? random.Next(20) : -1), Alignment = random.Next(3) == 0 ? AttentionAlignment.TopLeft : AttentionAlignment.BottomRight,
            };
            if (i < 4) made.AssertMatchesReference();
            else made.AssertNearSinglePrecision();
        }
    }

    /// <summary>More units than blocks that stay: each block takes several, of every kind.</summary>
    [Fact]
    public void Blocks_take_many_units()
    {
        Device device = TestDevices.Cuda();
        // Blocks that stay are a few on each multiprocessor.
        int rounds = Math.Max(1, ((CudaBackend)device.Backend).MultiprocessorCount / 8);
        var random = new Random(3);
        (int, int)[] lengths = [.. Enumerable.Range(0, 14 * rounds).Select(i => (i % 14) < 3 ? (40 + i % 14, 40) : i % 14 < 6 ? (20, 17 + i % 14) : (random.Next(1, 4), random.Next(1, 4)))];
        new AttentionCase { DType = DType.BFloat16, Dim = 32, Lengths = lengths, QueryHeads = 32, KeyHeads = 32 }.AssertNearSinglePrecision();
    }

    /// <summary>Hidden keys hold NaN: scores of the rows that do not see them are what they were.</summary>
    [Fact]
    public void A_hidden_key_changes_no_score()
    {
        Device device = TestDevices.Cuda();
        AttentionCase Case(Action<double[], double[], double[], double[]>? poison) => new() { DType = DType.BFloat16, Dim = 64, Lengths = [(40, 40), (9, 9)], QueryHeads = 1, Window = AttentionWindow.Causal, Seed = 8, Poison = poison };
        AttentionCase.Results clean = Case(null).Run(device), poisoned = Case((_, k, _, _) => k.AsSpan(39 * 64, 64).Fill(double.NaN)).Run(device);
        for (int i = 0; i < 49; i++)
            if (i == 39) Assert.True(double.IsNaN(poisoned.Lse[i]));
            else Assert.Equal(clean.Lse[i], poisoned.Lse[i]);
    }

    /// <summary>Warps that sleep at random, and blocks that take one unit after the other.</summary>
    [Theory]
    [InlineData(64, 2)]
    [InlineData(64, 1)]
    [InlineData(128, 2)]
    [InlineData(128, 1)]
    public void Jitter_changes_no_bit(int dim, int keyHeads)
    {
        Device device = TestDevices.Cuda();
        var backend = (CudaBackend)device.Backend;
        int copies = TestDevices.IsSlow ? 1 : 200, repetitions = TestDevices.IsSlow ? 1 : 50;
        var made = new AttentionCase
        {
            DType = DType.BFloat16, Dim = dim, QueryHeads = 2, KeyHeads = keyHeads, Window = AttentionWindow.Causal, Seed = 4,
            Lengths = [.. Enumerable.Repeat<(int, int)[]>([(64, 64), (40, 50), (20, 30), (17, 17), (9, 16), (3, 3), (16, 2)], copies).SelectMany(lengths => lengths)],
        };
        AttentionCase.Results expected = made.Run(device);
        backend.Kernels.Jitters = true;
        try
        {
            for (int i = 0; i < repetitions; i++)
            {
                AttentionCase.Results actual = made.Run(device);
                Assert.Equal(expected.Output, actual.Output);
                Assert.Equal(expected.Lse, actual.Lse);
                Assert.Equal(expected.DQuery, actual.DQuery);
                Assert.Equal(expected.DKey, actual.DKey);
                Assert.Equal(expected.DValue, actual.DValue);
            }
        }
        finally
        {
            backend.Kernels.Jitters = false;
        }
    }

    [Fact]
    public void Explained_by_warps()
    {
        Device device = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        using SequenceLayout layout = SequenceLayout.FromLengths([64, 33, 32, 16, 0, 100, 1]);
        Tensor x = Tensor.Zeros([layout.TotalTokens, 2, 64], DType.BFloat16, device), single = x.To(dtype: DType.Float32);
        Assert.Contains("up to 64 tokens whole in one block (2 on 4 warps, 1 of up to 32 on 2, 2 of up to 16 on one)", F.ExplainVarlenAttention(x, x, x, layout, layout), StringComparison.Ordinal);
        Assert.Contains("no kernels but the portable ones for single precision", F.ExplainVarlenAttention(single, single, single, layout, layout), StringComparison.Ordinal);
        Assert.Contains("for score features", F.ExplainVarlenAttention(x, x, x, layout, layout, new AttentionOptions { Softcap = 5 }), StringComparison.Ordinal);
    }
}
