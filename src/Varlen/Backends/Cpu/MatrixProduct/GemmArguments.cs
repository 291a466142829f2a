namespace Varlen.Backends.Cpu;

/// <summary>
/// A matrix product on row-major memory: C = Alpha * op(A) op(B) + Beta * C + Bias, where op(A) is [M, K], op(B) is [K, N] and
/// C is [M, N].
/// </summary>
/// <remarks>
/// A, B and C are each Float32, BFloat16 or Float16 (single-precision accumulation), or all three are Float64; Bias is any of
/// the four. C overlaps neither A, B nor Bias. Elements of a row are adjacent; rows are <c>Ld</c> elements apart.
/// </remarks>
internal unsafe struct GemmArguments
{
    /// <summary>Rows of op(A) and C; 0 is legal.</summary>
    public long M;
    /// <summary>Columns of op(B) and C; 0 is legal.</summary>
    public long N;
    /// <summary>Columns of op(A), rows of op(B). With 0 the product is a matrix of zeros.</summary>
    public long K;
    /// <summary>Whether A is stored as [K, M].</summary>
    public bool TransposeA;
    /// <summary>Whether B is stored as [N, K].</summary>
    public bool TransposeB;
    /// <summary>Factor of the product; at 0 neither A nor B is read.</summary>
    public double Alpha;
    /// <summary>Factor of the old C; at 0 the old C is not read, so it may hold NaN or nothing.</summary>
    public double Beta;
    public void* A;
    public DType AType;
    public long LdA;
    public void* B;
    public DType BType;
    public long LdB;
    public void* C;
    public DType CType;
    public long LdC;
    /// <summary>A row of N elements added to every row of C, or null.</summary>
    public void* Bias;
    public DType BiasType;

    /// <summary>A product of single-precision matrices with Alpha = 1, Beta = 0 and no bias.</summary>
    internal static GemmArguments Float32(
        bool transposeA, bool transposeB, long m, long n, long k, float* a, long lda, float* b, long ldb, float* c, long ldc)
        => new()
        {
            TransposeA = transposeA, TransposeB = transposeB, M = m, N = n, K = k, Alpha = 1,
            A = a, AType = DType.Float32, LdA = lda, B = b, BType = DType.Float32, LdB = ldb, C = c, CType = DType.Float32, LdC = ldc,
        };
}
