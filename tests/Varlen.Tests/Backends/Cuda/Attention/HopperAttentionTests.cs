using Varlen.Backends.Cuda;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Backends.Cuda.Attention;

/// <summary>The kernels of compute capability 9.0: head dims 64 and 128, sequences above 64 tokens, 16-bit types.</summary>
public sealed class HopperAttentionTests
{
    public static TheoryData<DType, int> TypesAndDims { get; } = new((DType.BFloat16, 64), (DType.Float16, 64), (DType.BFloat16, 128), (DType.Float16, 128));

    private static Device Hopper()
    {
        Device device = TestDevices.Cuda();
        Assert.SkipUnless(((CudaBackend)device.Backend).Info.ComputeCapability.Major == 9, "the device is not of compute capability 9.0");
        return device;
    }

    [Theory, MemberData(nameof(TypesAndDims))]
    public void Tile_edges(DType dtype, int dim)
    {
        Hopper();
        new AttentionCase { DType = dtype, Dim = dim, Lengths = AttentionCase.TileEdges }.AssertMatchesReference();
        new AttentionCase { DType = dtype, Dim = dim, Lengths = AttentionCase.TileEdges, QueryHeads = 4, KeyHeads = 2, Window = AttentionWindow.Causal, Tail = 3 }.AssertMatchesReference();
    }

    [Theory, MemberData(nameof(AttentionCase.Windows), MemberType = typeof(AttentionCase))]
    public void Windows_of_both_alignments(int left, int right)
    {
        Hopper();
        foreach (AttentionAlignment alignment in new[] { AttentionAlignment.BottomRight, AttentionAlignment.TopLeft })
            new AttentionCase { DType = DType.BFloat16, Dim = left % 2 == 0 ? 64 : 128, Lengths = [(90, 310), (270, 200), (130, 130)], QueryHeads = 1, Window = new(left, right), Alignment = alignment }.AssertMatchesReference();
    }

    [Fact]
    public void Several_key_blocks_and_warpgroups()
    {
        Hopper();
        new AttentionCase { DType = DType.BFloat16, Dim = 128, Lengths = [(300, 300), (70, 520)], QueryHeads = 2, KeyHeads = 1, Window = AttentionWindow.Causal }.AssertMatchesReference();
        new AttentionCase { DType = DType.BFloat16, Dim = 64, Lengths = [(70, 700), (400, 60)], QueryHeads = 1 }.AssertMatchesReference();
    }

    [Fact]
    public void Long_sequences_on_three_warpgroups()
    {
        TestDevices.RealCuda();
        Hopper();
        new AttentionCase { DType = DType.BFloat16, Dim = 64, Lengths = [(2100, 2100), (50, 50)], QueryHeads = 4, KeyHeads = 2, Window = AttentionWindow.Causal }.AssertNearSinglePrecision();
        new AttentionCase { DType = DType.Float16, Dim = 64, Lengths = [(2305, 3000)], QueryHeads = 2, Window = new(100, 40) }.AssertNearSinglePrecision();
        new AttentionCase { DType = DType.BFloat16, Dim = 128, Lengths = [(4097, 4097), (2048, 2047)], QueryHeads = 2 }.AssertNearSinglePrecision();
    }

    [Theory]
    [InlineData(64)]
    [InlineData(128)]
    public void Every_length_up_to_300(int dim)
    {
        TestDevices.RealCuda();
        Hopper();
        new AttentionCase { DType = DType.BFloat16, Dim = dim, Lengths = [.. Enumerable.Range(1, 300).Select(l => (l, l))], QueryHeads = 2 }.AssertNearSinglePrecision();
        new AttentionCase { DType = DType.BFloat16, Dim = dim, Lengths = [.. Enumerable.Range(1, 300).Select(l => (l, 301 - l))], QueryHeads = 1, Window = AttentionWindow.Causal }.AssertNearSinglePrecision();
        int[] edges = [63, 64, 65, 127, 128, 129, 191, 192, 193, 255, 256, 257];
        new AttentionCase { DType = DType.BFloat16, Dim = dim, Lengths = [.. from q in edges from k in edges select (q, k)], QueryHeads = 1, Window = AttentionWindow.Causal, Alignment = AttentionAlignment.TopLeft }.AssertNearSinglePrecision();
    }

    [Theory, MemberData(nameof(TypesAndDims))]
    public void A_sequence_has_the_same_bits_alone_and_in_any_batch(DType dtype, int dim)
    {
        Device device = Hopper();
        using TensorScope scope = TensorScope.Begin();
        int[] lengths = [70, 200, 33, 129, 0, 64];
        int total = lengths.Sum();
        Tensor q = Tensor.Randn([total, 2, dim], 1, dtype, device), k = Tensor.Randn([total, 2, dim], 2, dtype, device), v = Tensor.Randn([total, 2, dim], 3, dtype, device);
        (double[] output, double[] lse) = Attend(q, k, v, lengths);
        for (int s = 0, start = 0; s < lengths.Length; start += lengths[s++])
        {
            Tensor Part(Tensor x) => x.Narrow(0, start, lengths[s]);
            (double[] alone, double[] aloneLse) = Attend(Part(q), Part(k), Part(v), [lengths[s]]);
            Assert.Equal(output[(start * 2 * dim)..((start + lengths[s]) * 2 * dim)], alone);
            for (int h = 0; h < 2; h++) Assert.Equal(lse[(h * total + start)..(h * total + start + lengths[s])], aloneLse[(h * lengths[s])..((h + 1) * lengths[s])]);
        }

        static (double[], double[]) Attend(Tensor q, Tensor k, Tensor v, int[] lengths)
        {
            using SequenceLayout layout = SequenceLayout.FromLengths(lengths);
            (Tensor y, Tensor lse) = F.VarlenAttentionWithLse(q, k, v, layout, layout, new AttentionOptions { Window = AttentionWindow.Causal });
            return (y.ToArray<double>(), lse.ToArray<double>());
        }
    }

    [Theory]
    [InlineData(64)]
    [InlineData(128)]
    public void Nothing_of_a_neighbour_is_read_or_overwritten(int dim)
    {
        Hopper();
        // The sequences between are NaN throughout, and so is what lies behind the last one.
        (int, int)[] lengths = [(40, 90), (70, 70), (130, 50), (33, 33), (65, 140)];
        var clean = new AttentionCase { DType = DType.BFloat16, Dim = dim, Lengths = lengths, Tail = 5, Seed = 11 };
        var poisoned = new AttentionCase
        {
            DType = DType.BFloat16, Dim = dim, Lengths = lengths, Tail = 5, Seed = 11,
            Poison = (q, k, v, dy) =>
            {
                Fill(q, 40 * 2 * dim, 70 * 2 * dim);
                Fill(k, 90 * dim, 70 * dim);
                Fill(v, 90 * dim, 70 * dim);
                Fill(dy, 40 * 2 * dim, 70 * 2 * dim);
                foreach (double[] values in new[] { q, k, v, dy }) Fill(values, values.Length - 5 * dim, 5 * dim);
            },
        };
        AttentionCase.Results expected = clean.Run(TestDevices.Cuda()), actual = poisoned.Run(TestDevices.Cuda());
        Assert.Equal(Without(expected.Output, 40 * 2 * dim, 70 * 2 * dim), Without(actual.Output, 40 * 2 * dim, 70 * 2 * dim));
        Assert.Equal(Without(expected.DKey, 90 * dim, 70 * dim), Without(actual.DKey, 90 * dim, 70 * dim));
        Assert.Equal(Without(expected.DValue, 90 * dim, 70 * dim), Without(actual.DValue, 90 * dim, 70 * dim));
        Assert.All(actual.Output[(40 * 2 * dim)..(110 * 2 * dim)], value => Assert.True(double.IsNaN(value)));
        Assert.All(Without(actual.DQuery, 40 * 2 * dim, 70 * 2 * dim), value => Assert.True(double.IsFinite(value)));

        static void Fill(double[] values, int start, int count) => values.AsSpan(start, count).Fill(double.NaN);
        static double[] Without(double[] values, int start, int count) => [.. values[..start], .. values[(start + count)..]];
    }

    [Theory]
    [InlineData(64)]
    [InlineData(128)]
    public void Deterministic_gradients_have_the_same_bits_alone_and_in_any_batch(int dim)
    {
        Device device = Hopper();
        using TensorScope scope = TensorScope.Begin();
        int[] lengths = [70, 150, 33];
        int total = lengths.Sum();
        Tensor[] values = [.. Enumerable.Range(1, 4).Select(seed => Tensor.Randn([total, 2, dim], (ulong)seed, DType.BFloat16, device))];
        double[][] packed = Gradients(values, lengths);
        for (int s = 0, start = 0; s < lengths.Length; start += lengths[s++])
        {
            double[][] alone = Gradients([.. values.Select(x => x.Narrow(0, start, lengths[s]).Clone())], [lengths[s]]);
            for (int i = 0; i < 3; i++) Assert.Equal(packed[i][(start * 2 * dim)..((start + lengths[s]) * 2 * dim)], alone[i]);
        }

        static double[][] Gradients(Tensor[] values, int[] lengths)
        {
            using SequenceLayout layout = SequenceLayout.FromLengths(lengths);
            Tensor[] leaves = [.. values[..3].Select(x => x.Clone())];
            foreach (Tensor leaf in leaves) leaf.RequiresGrad = true;
            F.VarlenAttention(leaves[0], leaves[1], leaves[2], layout, layout, new AttentionOptions { Window = AttentionWindow.Causal, Deterministic = true }).Backward(values[3]);
            return [.. leaves.Select(leaf => leaf.Grad!.ToArray<double>())];
        }
    }

    [Fact]
    public void Random_cases()
    {
        Hopper();
        var random = new Random(Numeric.FreshSeed());
        int cases = TestDevices.IsSlow ? 3 : 2000;
        for (int i = 0; i < cases; i++)
        {
            int keyHeads = random.Next(1, 3), longest = TestDevices.IsSlow ? 150 : i % 20 == 0 ? 400 : 150;
            var made = new AttentionCase
            {
                DType = random.Next(2) == 0 ? DType.BFloat16 : DType.Float16, Dim = random.Next(2) == 0 ? 64 : 128, KeyHeads = keyHeads, QueryHeads = keyHeads * random.Next(1, 3), Seed = random.Next(),
                Lengths = [.. Enumerable.Range(0, random.Next(1, 4)).Select(_ => (random.Next(longest), random.Next(longest)))],
                Window = new(random.Next(4) == 0 ? random.Next(longest) : -1, random.Next(2) == 0 ? random.Next(20) : -1), Alignment = random.Next(3) == 0 ? AttentionAlignment.TopLeft : AttentionAlignment.BottomRight,
            };
            if (i < 3) made.AssertMatchesReference();
            else made.AssertNearSinglePrecision();
        }
    }
}
