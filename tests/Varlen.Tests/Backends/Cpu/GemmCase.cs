using Varlen.Backends.Cpu;
using Xunit;

namespace Varlen.Tests.Backends.Cpu;

/// <summary>One product with its operands, and its check against the plain definition in double precision.</summary>
internal sealed unsafe class GemmCase : IDisposable
{
    internal bool TransposeA, TransposeB;
    internal long M, N, K;
    internal double Alpha = 1, Beta;
    internal required NativeMatrix A, B, C;
    internal NativeMatrix? Bias;

    internal static GemmCase Random(
        Random random, string layout, long m, long n, long k, DType a = DType.Float32, DType b = DType.Float32, DType c = DType.Float32,
        double alpha = 1, double beta = 0, DType? bias = null)
    {
        bool transposeA = layout[0] == 'T', transposeB = layout[1] == 'T';
        var result = new GemmCase
        {
            TransposeA = transposeA, TransposeB = transposeB, M = m, N = n, K = k, Alpha = alpha, Beta = beta,
            A = new NativeMatrix(a, transposeA ? k : m, transposeA ? m : k, random.Next(0, 20)).FillRandom(random),
            B = new NativeMatrix(b, transposeB ? n : k, transposeB ? k : n, random.Next(0, 20)).FillRandom(random),
            C = new NativeMatrix(c, m, n, random.Next(0, 20)),
            Bias = bias is { } type ? new NativeMatrix(type, 1, n, 0).FillRandom(random) : null,
        };
        // With beta = 0 the old C keeps its NaN pattern: it must not be read.
        if (beta != 0) result.C.FillRandom(random);
        return result;
    }

    internal GemmArguments Arguments(NativeMatrix c, long firstRow, long rows) => new()
    {
        TransposeA = TransposeA, TransposeB = TransposeB, M = rows, N = N, K = K, Alpha = Alpha, Beta = Beta,
        A = A.Data + firstRow * (TransposeA ? 1 : A.Stride) * A.DType.Size(), AType = A.DType, LdA = A.Stride,
        B = B.Data, BType = B.DType, LdB = B.Stride,
        C = c.Data + firstRow * c.Stride * c.DType.Size(), CType = c.DType, LdC = c.Stride,
        Bias = Bias is null ? null : Bias.Data, BiasType = Bias?.DType ?? DType.Float32,
    };

    /// <summary>Computes all rows into a copy of C.</summary>
    internal NativeMatrix Run(ThreadTeam team)
    {
        NativeMatrix c = C.Clone();
        Gemm.Run(team, Arguments(c, 0, M));
        return c;
    }

    /// <summary>Every element within the rounding errors that its chain can collect, and nothing written elsewhere.</summary>
    internal void AssertCorrect(NativeMatrix actual, string what)
    {
        double unit = C.DType == DType.Float64 ? Math.Pow(2, -53) : Math.Pow(2, -24);
        (double relative, double absolute) = C.DType switch
        {
            DType.BFloat16 => (Math.Pow(2, -9), 0),
            DType.Float16 => (Math.Pow(2, -12), Math.Pow(2, -25)),
            _ => (0, 0.0),
        };
        double[] rows = Lines(A, TransposeA), columns = Lines(B, !TransposeB);
        for (long i = 0; i < M; i++)
        {
            for (long j = 0; j < N; j++)
            {
                double sum = 0, magnitude = 0;
                for (long k = 0; k < K; k++)
                {
                    double term = rows[i * K + k] * columns[j * K + k];
                    sum += term;
                    magnitude += Math.Abs(term);
                }
                double expected = Alpha * sum, scale = Math.Abs(Alpha) * magnitude;
                if (Beta != 0) { expected += Beta * C[i, j]; scale += Math.Abs(Beta * C[i, j]); }
                if (Bias is not null) { expected += Bias[0, j]; scale += Math.Abs(Bias[0, j]); }
                // Two roundings per link of the chain (no fused unit), and a few for alpha, beta and bias.
                double bound = (2 * K + 8) * unit * scale;
                bound += 2 * relative * (Math.Abs(expected) + bound) + absolute;
                double error = Math.Abs(actual[i, j] - expected);
                Assert.True(error <= bound, $"{what} {this}: element ({i}, {j}) is {actual[i, j]}, expected {expected} within {bound}");
            }
        }
        actual.AssertNothingWrittenOutside();
    }

    private static double[] Lines(NativeMatrix matrix, bool transpose)
    {
        var lines = new double[matrix.Rows * matrix.Columns];
        for (long row = 0; row < matrix.Rows; row++)
            for (long column = 0; column < matrix.Columns; column++)
                lines[transpose ? column * matrix.Rows + row : row * matrix.Columns + column] = matrix[row, column];
        return lines;
    }

    public override string ToString()
        => $"{(TransposeA ? 'T' : 'N')}{(TransposeB ? 'T' : 'N')} {M}x{N}x{K} {A.DType} {B.DType} {C.DType} alpha {Alpha} beta {Beta} bias {Bias?.DType}";

    public void Dispose()
    {
        A.Dispose();
        B.Dispose();
        C.Dispose();
        Bias?.Dispose();
    }
}
