using Xunit;

namespace Varlen.Tests.Backends.Cpu.Attention;

/// <summary>Kernels against the dense oracle.</summary>
public class AttentionKernelTests
{
    public static TheoryData<int, int> AllWindows
    {
        get
        {
            var data = new TheoryData<int, int>();
            foreach (var (left, right) in new[] { (-1, -1), (-1, 0), (4, 0), (-1, 4), (0, 0), (1, 0), (0, 1), (0, -1), (4, 4), (8, 2), (1025, 1025), (60, 20) })
                data.Add(left, right);
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(AllWindows))]
    public void Awkward_lengths(int left, int right)
    {
        foreach (DType dtype in new[] { DType.Float64, DType.Float32 })
            foreach (AttentionAlignment alignment in Enum.GetValues<AttentionAlignment>())
                new AttentionRun
                {
                    Dim = 8, QueryHeads = 1, KeyHeads = 1, DType = dtype, Window = new AttentionWindow(left, right), Alignment = alignment,
                    Lengths = [(0, 0), (1, 1), (15, 15), (0, 3), (16, 17), (3, 0), (48, 48), (47, 49), (49, 47), (1, 140), (140, 1), (65, 129), (127, 64)],
                }.Prepare().Run().AssertMatchesDense();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(7)]
    [InlineData(13)]
    [InlineData(15)]
    [InlineData(16)]
    [InlineData(17)]
    [InlineData(31)]
    [InlineData(48)]
    [InlineData(64)]
    [InlineData(80)]
    [InlineData(96)]
    [InlineData(100)]
    [InlineData(128)]
    [InlineData(255)]
    [InlineData(256)]
    public void Any_head_dimension(int dim)
    {
        foreach (DType dtype in new[] { DType.Float64, DType.Float32 })
            foreach (NativeRows.Layout layout in new[] { NativeRows.Layout.Packed, NativeRows.Layout.Fused, NativeRows.Layout.Padded })
                new AttentionRun
                {
                    Dim = dim, DType = dtype, Layout = layout, Scale = 1 / Math.Sqrt(dim), Window = AttentionWindow.Causal,
                    QueryHeads = 1, KeyHeads = 1, Lengths = [(21, 21), (2, 9), (50, 50)],
                }.Prepare().Run().AssertMatchesDense();
    }

    [Theory]
    [InlineData(6, 1)]
    [InlineData(6, 2)]
    [InlineData(6, 3)]
    [InlineData(4, 4)]
    public void Grouped_heads(int queryHeads, int keyHeads)
    {
        foreach (DType dtype in new[] { DType.Float64, DType.Float32 })
            new AttentionRun
            {
                QueryHeads = queryHeads, KeyHeads = keyHeads, DType = dtype, Dim = 12, Window = AttentionWindow.Causal,
                Lengths = [(33, 33), (5, 9), (70, 70)], Accumulate = true, Layout = NativeRows.Layout.Padded,
            }.Prepare().Run().AssertMatchesDense();
    }

    [Fact]
    public void Combinations_of_everything()
    {
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        for (int round = 0; round < 60; round++)
        {
            int group = random.Next(1, 4), keyHeads = random.Next(1, 3);
            var run = new AttentionRun
            {
                RandomSeed = random.Next(), KeyHeads = keyHeads, QueryHeads = keyHeads * group, Dim = random.Next(1, 40),
                DType = random.Next(3) == 0 ? DType.Float64 : DType.Float32,
                Lengths = [.. Enumerable.Range(0, random.Next(1, 6)).Select(_ => (random.Next(0, 90), random.Next(0, 150)))],
                Window = new AttentionWindow(random.Next(-1, 40), random.Next(-1, 40)),
                Alignment = random.Next(2) == 0 ? AttentionAlignment.TopLeft : AttentionAlignment.BottomRight,
                Softcap = random.Next(2) == 0 ? 0 : 0.5 + random.NextDouble(), Dropout = random.Next(2) == 0 ? 0 : 0.2,
                Slopes = random.Next(2) == 0 ? null : [.. Enumerable.Range(0, keyHeads * group).Select(_ => random.NextSingle())],
                Accumulate = random.Next(2) == 0, HasDOutput = random.Next(5) != 0, HasDLse = random.Next(3) != 0,
                WantsDQuery = random.Next(6) != 0, WantsDKey = random.Next(6) != 0, WantsDValue = random.Next(6) != 0,
                Layout = (NativeRows.Layout)random.Next(3), Threads = random.Next(1, 4),
            };
            if (random.Next(2) == 0)
            {
                run.Mask = RandomMask(random, random.Next(2) == 0 ? 1 : run.QueryHeads, random.Next(3) == 0 ? 1 : Math.Max(run.QueryTokens, 1), Math.Max(run.KeyTokens, 1));
                run.BooleanMask = random.Next(2) == 0;
            }
            run.Prepare().Run().AssertMatchesDense();
        }
    }

    // A third hidden, and some queries see nothing at all.
    private static float[,,] RandomMask(Random random, int heads, int queries, int keys)
    {
        var mask = new float[heads, queries, keys];
        for (int h = 0; h < heads; h++)
            for (int i = 0; i < queries; i++)
            {
                bool blind = queries > 1 && random.Next(10) == 0;
                for (int j = 0; j < keys; j++)
                    mask[h, i, j] = blind || random.Next(3) == 0 ? float.NegativeInfinity : (2 * random.NextSingle()) - 1;
            }
        return mask;
    }

    [Theory]
    [InlineData(DType.BFloat16, DType.BFloat16)]
    [InlineData(DType.BFloat16, DType.Float32)]
    [InlineData(DType.Float16, DType.Float16)]
    [InlineData(DType.Float16, DType.Float32)]
    [InlineData(DType.Float32, DType.BFloat16)]
    [InlineData(DType.Float32, DType.Float64)]
    public void Sixteen_bit_storage(DType dtype, DType gradientType)
    {
        foreach (bool accumulate in new[] { false, true })
            new AttentionRun
            {
                DType = dtype, GradientType = gradientType, Dim = 20, Lengths = [(19, 19), (1, 4), (60, 60)], QueryHeads = 4, KeyHeads = 2,
                Window = AttentionWindow.Causal, Accumulate = accumulate,
            }.Prepare().Run().AssertMatchesDense();
    }

    [Fact]
    public void A_long_sequence_among_short_ones_goes_through_several_chunks_of_keys()
    {
        // With 256 features, chunks are 256 keys forward and 128 backward.
        foreach (DType gradientType in new[] { DType.Float32, DType.BFloat16 })
            foreach (AttentionWindow window in new[] { AttentionWindow.Full, AttentionWindow.Causal, new AttentionWindow(150, 30) })
                new AttentionRun
                {
                    Dim = 256, Scale = 0.06, QueryHeads = 2, KeyHeads = 1, Lengths = [(3, 3), (60, 300), (1, 1), (17, 17)], Window = window,
                    GradientType = gradientType, Threads = 2, Accumulate = true, Dropout = 0.1,
                }.Prepare().Run().AssertMatchesDense();
    }

    [Fact]
    public void Many_queries_pass_by_several_chunks_of_keys()
        => new AttentionRun
        {
            Dim = 256, Scale = 0.06, QueryHeads = 1, KeyHeads = 1, Lengths = [(500, 300)], Window = new AttentionWindow(260, -1),
            Alignment = AttentionAlignment.TopLeft, Threads = 2,
        }.Prepare().Run().AssertMatchesDense();

    [Fact]
    public void A_hundred_thousand_documents_of_one_token()
    {
        var run = new AttentionRun
        {
            Dim = 4, QueryHeads = 1, KeyHeads = 1, Lengths = [.. Enumerable.Repeat((1, 1), 100_000)], Window = AttentionWindow.Causal, Threads = 2,
            Layout = NativeRows.Layout.Packed,
        }.Prepare().Run();
        for (int t = 0; t < 100_000; t++)
            for (int f = 0; f < 4; f++)
            {
                Assert.Equal(run.Value[t, 0, f], run.Output[t, 0, f]);
                Assert.Equal(run.DOutput[t, 0, f], run.DValue[t, 0, f], 1e-6);
            }
        run.AssertMatchesDense();
    }

    [Fact]
    public void Very_large_and_very_negative_scores_stay_exact()
    {
        foreach (double size in new[] { 30.0, 1e-3 })
            foreach (DType dtype in new[] { DType.Float64, DType.Float32 })
                new AttentionRun
                {
                    Dim = 64, DType = dtype, InputSize = size, Scale = size > 1 ? 0.02 : 1, Lengths = [(64, 64), (704, 32)],
                    QueryHeads = 1, KeyHeads = 1, Window = AttentionWindow.Causal,
                }.Prepare().Run().AssertMatchesDense(backward: size < 1);
    }

    [Fact]
    public void No_sequences_and_no_tokens_are_legal()
    {
        new AttentionRun { Lengths = [] }.Prepare().Run().AssertMatchesDense();
        new AttentionRun { Lengths = [(0, 0), (0, 0)] }.Prepare().Run().AssertMatchesDense();
    }
}
