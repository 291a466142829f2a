using Varlen.Backends.Cpu;
using Xunit;

namespace Varlen.Tests.Backends.Cpu;

/// <summary>The matrix product against its definition, on sizes around every edge of its blocking.</summary>
public sealed class GemmTests
{
    private static readonly string[] Layouts = ["NN", "NT", "TN", "TT"];
    private static readonly DType[] Storage = [DType.Float32, DType.BFloat16, DType.Float16];

    [Theory]
    [InlineData("NN")]
    [InlineData("NT")]
    [InlineData("TN")]
    [InlineData("TT")]
    public void MatchesTheDefinitionAtTheEdges(string layout)
    {
        using var team = new ThreadTeam(3);
        long[] depths = [0, 1, 2, 3, 4, 5, 15, 16, 17, 61, 64];
        var random = new Random(11);
        int turn = 0;
        foreach (long m in (ReadOnlySpan<long>)[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 23, 24, 25, 26, 31, 37])
        {
            foreach (long n in (ReadOnlySpan<long>)[0, 1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 97])
                Check(team, GemmCase.Random(random, layout, m, n, depths[turn++ % depths.Length], beta: turn % 3 == 0 ? 0.5 : 0), "seed 11");
        }
    }

    [Theory]
    [InlineData(1, 40, 511)]
    [InlineData(2, 33, 1030)]
    [InlineData(13, 70, 1025)]
    [InlineData(24, 31, 513)]
    [InlineData(25, 32, 512)]
    [InlineData(127, 131, 137)]
    [InlineData(143, 63, 512)]
    [InlineData(145, 65, 511)]
    [InlineData(289, 97, 513)]
    [InlineData(29, 1023, 67)]
    [InlineData(50, 1025, 520)]
    [InlineData(7, 2081, 33)]
    [InlineData(49, 4100, 5)]
    public void MatchesTheDefinitionAcrossBlocks(int m, int n, int k)
    {
        using var team = new ThreadTeam(3);
        var random = new Random(12);
        foreach (string layout in Layouts)
            Check(team, GemmCase.Random(random, layout, m, n, k, alpha: 1.5, beta: k % 2 == 0 ? 0 : -0.75, bias: DType.Float32), "seed 12");
    }

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void TakesEveryMixOfElementTypes(DType c)
    {
        using var team = new ThreadTeam(2);
        var random = new Random(13);
        foreach (DType a in Storage)
        {
            foreach (DType b in Storage)
            {
                foreach (string layout in Layouts)
                {
                    Check(team, GemmCase.Random(random, layout, 5, 37, 19, a, b, c, beta: 1), "seed 13");
                    Check(team, GemmCase.Random(random, layout, 14, 20, 530, a, b, c, alpha: 0.5, bias: a), "seed 13");
                    Check(team, GemmCase.Random(random, layout, 53, 66, 517, a, b, c, beta: 2, bias: DType.Float64), "seed 13");
                }
            }
        }
    }

    [Fact]
    public void KeepsHalfPrecisionResultsInSinglePrecisionBetweenBlocks()
    {
        using var team = new ThreadTeam(2);
        var random = new Random(14);
        Check(team, GemmCase.Random(random, "NT", 2100, 33, 513, c: DType.BFloat16, beta: 1), "seed 14");
        Check(team, GemmCase.Random(random, "NN", 40, 1060, 1025, c: DType.Float16), "seed 14");
    }

    [Fact]
    public void ComputesInDoublePrecision()
    {
        using var team = new ThreadTeam(3);
        var random = new Random(15);
        foreach (string layout in Layouts)
        {
            foreach ((int m, int n, int k) in new[] { (0, 3, 2), (1, 1, 1), (3, 15, 0), (4, 16, 7), (5, 17, 9), (259, 33, 600), (130, 100, 64) })
            {
                Check(team, GemmCase.Random(random, layout, m, n, k, DType.Float64, DType.Float64, DType.Float64), "seed 15");
                Check(team, GemmCase.Random(
                    random, layout, m, n, k, DType.Float64, DType.Float64, DType.Float64, -2, 0.25, DType.Float64), "seed 15");
            }
        }
    }

    [Fact]
    public void MatchesTheDefinitionOnRandomCases()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        for (int i = 0; i < 120; i++)
        {
            using var team = new ThreadTeam(random.Next(1, 4));
            DType Pick() => Storage[random.Next(Storage.Length)];
            double[] factors = [0, 1, -1, 0.3];
            int most = random.Next(2) == 0 ? 40 : 200;
            Check(team, GemmCase.Random(
                random, Layouts[random.Next(4)], random.Next(most), random.Next(most), random.Next(4) == 0 ? random.Next(1100) : random.Next(most),
                Pick(), Pick(), Pick(), factors[random.Next(4)], factors[random.Next(4)], random.Next(2) == 0 ? null : Pick()), $"seed {seed} case {i}");
        }
    }

    [Fact]
    public unsafe void DoesNotReadOperandsWithAlphaZero()
    {
        using var team = new ThreadTeam(1);
        foreach (DType dtype in (ReadOnlySpan<DType>)[DType.Float32, DType.Float64])
        {
            using GemmCase product = GemmCase.Random(new Random(16), "NN", 3, 5, 4, dtype, dtype, dtype, alpha: 0, beta: 2, bias: dtype);
            product.A[1, 1] = double.NaN;
            product.B[2, 2] = double.PositiveInfinity;
            using NativeMatrix c = product.Run(team);
            for (int i = 0; i < 3; i++)
                for (int j = 0; j < 5; j++) Assert.Equal(2 * product.C[i, j] + product.Bias![0, j], c[i, j], 1e-6);
        }
    }

    [Fact]
    public void RefusesElementTypesThatDoNotGoTogether()
    {
        using var team = new ThreadTeam(1);
        using GemmCase mixed = GemmCase.Random(new Random(17), "NN", 2, 2, 2, DType.Float64, DType.Float32, DType.Float32);
        ArgumentException error = Assert.Throws<ArgumentException>(() => mixed.Run(team));
        Assert.Contains("Float64", error.Message, StringComparison.Ordinal);
    }

    private static void Check(ThreadTeam team, GemmCase product, string what)
    {
        using (product)
        {
            using NativeMatrix c = product.Run(team);
            product.AssertCorrect(c, what);
        }
    }
}
