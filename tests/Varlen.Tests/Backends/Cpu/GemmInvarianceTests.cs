using Varlen.Backends.Cpu;
using Xunit;

namespace Varlen.Tests.Backends.Cpu;

/// <summary>A row of a product has the same bits in any company and on any number of threads.</summary>
public sealed unsafe class GemmInvarianceTests
{
    [Theory]
    [InlineData("NN", 300, 130, 700, DType.Float32, DType.Float32, 0.0)]
    [InlineData("NT", 301, 130, 700, DType.Float32, DType.Float32, 1.0)]
    [InlineData("TN", 170, 70, 1100, DType.Float32, DType.Float32, 0.5)]
    [InlineData("TT", 61, 33, 513, DType.Float32, DType.Float32, 0.0)]
    [InlineData("NN", 40, 4120, 40, DType.Float32, DType.Float32, 0.0)]
    [InlineData("NT", 150, 65, 600, DType.BFloat16, DType.BFloat16, 1.0)]
    [InlineData("TN", 150, 65, 600, DType.Float16, DType.Float32, 1.0)]
    [InlineData("NN", 150, 65, 600, DType.BFloat16, DType.Float16, 1.0)]
    [InlineData("NT", 300, 40, 100, DType.Float64, DType.Float64, 1.0)]
    public void RowsDoNotDependOnTheirCompany(string layout, int m, int n, int k, DType input, DType output, double beta)
    {
        using GemmCase product = GemmCase.Random(new Random(21), layout, m, n, k, input, input, output, alpha: 1.25, beta: beta, bias: output);
        using var one = new ThreadTeam(1);
        using NativeMatrix whole = product.Run(one);
        foreach (int threads in (ReadOnlySpan<int>)[2, 3])
        {
            using var team = new ThreadTeam(threads);
            using NativeMatrix again = product.Run(team);
            AssertSameRows(whole, again, 0, m, $"{threads} threads");
        }
        using var two = new ThreadTeam(2);
        var random = new Random(22);
        for (int attempt = 0; attempt < 40; attempt++)
        {
            // Alone, in few, in many; the first attempts cover every kernel variant.
            int count = attempt < 26 ? Math.Min(attempt + 1, m) : random.Next(1, m + 1);
            int first = random.Next(0, m - count + 1);
            using NativeMatrix part = product.C.Clone();
            Gemm.Run(attempt % 2 == 0 ? one : two, product.Arguments(part, first, count));
            AssertSameRows(whole, part, first, count, $"rows {first} to {first + count - 1}");
        }
    }

    [Theory]
    [InlineData("NN")]
    [InlineData("NT")]
    [InlineData("TN")]
    public void NonFiniteRowsStayAmongThemselves(string layout)
    {
        using GemmCase clean = GemmCase.Random(new Random(23), layout, 90, 50, 530);
        using var team = new ThreadTeam(2);
        using NativeMatrix expected = clean.Run(team);
        foreach (double poison in (ReadOnlySpan<double>)[double.NaN, double.PositiveInfinity])
        {
            foreach (int row in (ReadOnlySpan<int>)[0, 11, 12, 50, 89])
            {
                for (int k = 0; k < 530; k += 7) clean.A[clean.TransposeA ? k : row, clean.TransposeA ? row : k] = poison;
            }
            using NativeMatrix actual = clean.Run(team);
            for (int row = 0; row < 90; row++)
            {
                if (row is 0 or 11 or 12 or 50 or 89)
                {
                    for (int column = 0; column < 50; column++) Assert.False(double.IsFinite(actual[row, column]));
                }
                else
                {
                    AssertSameRows(expected, actual, row, 1, $"row {row} beside {poison}");
                }
            }
            actual.AssertNothingWrittenOutside();
        }
    }

    [Fact]
    public void RunsInsideOfAJobAndConcurrently()
    {
        using GemmCase product = GemmCase.Random(new Random(24), "TN", 200, 300, 700);
        using var team = new ThreadTeam(3);
        using NativeMatrix expected = product.Run(team);
        Parallel.For(0, 12, _ =>
        {
            using NativeMatrix actual = product.Run(team);
            AssertSameRows(expected, actual, 0, 200, "concurrent call");
        });
        var nested = new Nested { Team = team, Product = product, Expected = expected };
        team.Run(ref nested);
    }

    private struct Nested : IParallelBody
    {
        internal ThreadTeam Team;
        internal GemmCase Product;
        internal NativeMatrix Expected;

        public readonly void Invoke(int worker, int workers)
        {
            using NativeMatrix actual = Product.Run(Team);
            AssertSameRows(Expected, actual, 0, 200, $"nested in worker {worker}");
        }
    }

    private static void AssertSameRows(NativeMatrix expected, NativeMatrix actual, long first, long count, string what)
    {
        for (long row = first; row < first + count; row++)
            Assert.True(expected.RowBytes(row).SequenceEqual(actual.RowBytes(row)), $"{what}: row {row} has other bits");
    }
}
