using System.Numerics;
using Varlen.Ops;

namespace Varlen.Backends.Cuda.MatrixProducts;

/// <summary>A product to compute: c (+)= alpha * a b + bias, for each of a batch. The lines of c are rows.</summary>
/// <param name="A">[m, k].</param>
/// <param name="B">[k, n].</param>
/// <param name="C">[m, n].</param>
/// <param name="Accumulate">Add to c.</param>
/// <param name="Bias">Address of n values of c's type; 0 for none.</param>
/// <param name="Alpha">A factor, unless there is one on the device.</param>
/// <param name="Factor">Address of a single-precision factor on the device; 0 for none.</param>
/// <param name="Batch">Number of products.</param>
internal readonly record struct Product(Matrix A, Matrix B, Matrix C, bool Accumulate, nint Bias, float Alpha, nint Factor, int Batch)
{
    public long M => C.Rows;
    public long N => C.Columns;
    public long K => A.Columns;

    /// <summary>A product with the same strides as far as they fit, and another number of rows, or of columns. Its addresses are not to be used.</summary>
    public Product Resized(long size, bool columns, int batch) => columns
        ? this with { B = Resized(B, B.Rows, size), C = Resized(C, M, size), Batch = batch }
        : this with { A = Resized(A, size, K), C = Resized(C, size, N), Batch = batch };

    private static Matrix Resized(Matrix matrix, long rows, long columns)
    {
        long length = matrix.IsTransposed ? rows : columns, stride = matrix.Stride;
        // Adding a multiple keeps the alignment of lines.
        if (stride < length) stride *= (length + stride - 1) / stride | 1;
        return matrix with { Rows = rows, Columns = columns, Stride = stride };
    }
}

[Flags]
internal enum ProductTraits
{
    None = 0,
    TransposedA = 1,
    TransposedB = 2,
    Bias = 4,
    Accumulate = 8,
    DeviceFactor = 16,
    Batched = 32,
    /// <summary>Sizes are those of one product, because the plan of their bucket refused it.</summary>
    Exact = 64,
    /// <summary>The algorithm may not depend on the number of rows.</summary>
    FixedRows = 128,
    /// <summary>What the caller calls rows are the product's columns.</summary>
    RowsAreColumns = 256,
}

/// <summary>
/// Products that share a plan. The number of tokens changes every step, and with it one of the sizes, so sizes are rounded up to four buckets an
/// octave; what is left are a few plans.
/// </summary>
internal readonly record struct ProductKey(long M, long N, long K, DType Input, DType Output, int AlignmentA, int AlignmentB, int AlignmentC, ProductTraits Traits)
{
    /// <summary>The number of rows for which algorithms are chosen that must not depend on it.</summary>
    public const long FixedRows = 8192;

    private const int LargestAlignment = 16;

    /// <param name="product">The product.</param>
    /// <param name="rowsAreFixed">Whether every number of rows has the same key.</param>
    /// <param name="rowsAreColumns">Whether the caller's rows are the product's columns.</param>
    public static ProductKey Of(in Product product, bool rowsAreFixed, bool rowsAreColumns)
    {
        ProductTraits traits = (product.A.IsTransposed ? ProductTraits.TransposedA : 0) | (product.B.IsTransposed ? ProductTraits.TransposedB : 0) | (product.Bias != 0 ? ProductTraits.Bias : 0)
            | (product.Accumulate ? ProductTraits.Accumulate : 0) | (product.Factor != 0 ? ProductTraits.DeviceFactor : 0) | (product.Batch > 1 ? ProductTraits.Batched : 0);
        (long m, long n, long k) = rowsAreFixed
            ? rowsAreColumns ? (product.M, FixedRows, product.K) : (FixedRows, product.N, product.K)
            : (Bucket(product.M), Bucket(product.N), Bucket(product.K));
        if (rowsAreFixed) traits |= ProductTraits.FixedRows | (rowsAreColumns ? ProductTraits.RowsAreColumns : 0);
        return new(m, n, k, product.A.DType, product.C.DType, Alignment(product.A, product.Batch), Alignment(product.B, product.Batch), Alignment(product.C, product.Batch), traits);
    }

    /// <summary>The key of this product alone.</summary>
    public ProductKey ExactlyOf(in Product product) => this with { M = product.M, N = product.N, K = product.K, Traits = Traits | ProductTraits.Exact };

    public bool Has(ProductTraits trait) => (Traits & trait) != 0;

    /// <summary>Rounds up to a quarter of a power of two.</summary>
    public static long Bucket(long size)
    {
        if (size <= 16) return size;
        int shift = BitOperations.Log2((ulong)size) - 2;
        return (((size - 1) >> shift) + 1) << shift;
    }

    // The largest power of two, up to 16 bytes, at whose multiples every line starts.
    private static int Alignment(in Matrix matrix, int batch)
    {
        int size = matrix.DType.Size();
        ulong bits = (ulong)matrix.Data | (ulong)(matrix.Stride * size) | (batch > 1 ? (ulong)(matrix.Step * size) : 0) | LargestAlignment;
        return 1 << BitOperations.TrailingZeroCount(bits);
    }

    public override string ToString() => $"matrix product [{M}, {K}] x [{K}, {N}], {Input} to {Output}";
}
