using System.Runtime.InteropServices;
using Varlen.Autograd;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Backends.Cuda.MatrixProducts;
using Varlen.Backends.Cuda.Native;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : IMatrixProductKernels
{
    private const string EmulatorName = "Varlen emulator";
    private const int ProductTile = 64, SumColumnThreads = 32, SumRowThreads = 8;

    private static readonly KernelFamily ProductKernel = new("matrix.cu", "matrix_product");
    private static readonly KernelFamily ColumnSumsKernel = new("column_sums.cu", "column_sums", KernelOption.FloatingPoint("ELEMENT"));

    private ProductPlans? _products;
    private bool? _tunes;

    /// <summary>Plans of matrix products.</summary>
    public ProductPlans Products => _products ??= new ProductPlans(this);

    /// <summary>
    /// Whether the first large product of a kind times several algorithms, for which it waits for the device. Without, and in deterministic mode always,
    /// the choice is the library's.
    /// </summary>
    public bool TunesMatrixProducts
    {
        get => !Deterministic && (_tunes ?? Info.Name != EmulatorName);
        set => _tunes = value;
    }

    public void Multiply(Matrix a, Matrix b, Matrix c, bool accumulate, Tensor? bias, double alpha, int batch)
        => Multiply(a, b, c, accumulate, bias, (float)alpha, 0, batch);

    /// <summary>c (+)= factor * a b, with a single-precision factor that the device has.</summary>
    /// <param name="a">[m, k].</param>
    /// <param name="b">[k, n].</param>
    /// <param name="c">[m, n].</param>
    /// <param name="accumulate">Add to c.</param>
    /// <param name="deviceFactor">Its address.</param>
    public void MultiplyScaled(Matrix a, Matrix b, Matrix c, bool accumulate, nint deviceFactor) => Multiply(a, b, c, accumulate, null, 1, deviceFactor, 1);

    public void ColumnSums(Tensor rows, GradientTarget target, double scale) => ColumnSums(rows, target, scale, 0);

    /// <summary>As the other one, times a single-precision factor on the device; 0 for none.</summary>
    public void ColumnSums(Tensor rows, GradientTarget target, double scale, nint deviceFactor)
    {
        RequireComputeType(nameof(ColumnSums), rows);
        int columns = rows.Shape[-1];
        if (!target.IsWanted || columns == 0) return;
        long count = rows.Count / columns;
        int vector = columns % (16 / rows.DType.Size()) == 0 && IsAligned(rows.Pointer) ? 16 / rows.DType.Size() : 1;
        int tiles = (columns + SumColumnThreads * vector - 1) / (SumColumnThreads * vector);
        // Few columns leave only rows to share out.
        int chunks = RowChunks(count, leastRows: 4 * SumRowThreads, perMultiprocessor: Math.Clamp(8 / tiles, 1, 8));
        using Tensor partials = Tensor.AllocateUntracked([chunks, columns], DType.Float32, Device);
        var arguments = new ColumnSumsArguments
        {
            Values = rows.Pointer, Partials = partials.Pointer, Factor = deviceFactor, Rows = count, RowsPerChunk = (count + chunks - 1) / chunks, Columns = columns, Tiles = tiles, IsVector = vector > 1 ? 1 : 0,
        };
        Launch(ColumnSumsKernel.With(rows.DType), (long)chunks * tiles, SumColumnThreads * SumRowThreads, in arguments);
        AddPartials(partials.Pointer, chunks, columns, target, scale);
    }

    private void Multiply(Matrix a, Matrix b, Matrix c, bool accumulate, Tensor? bias, float alpha, nint factor, int batch)
    {
        foreach (DType type in (ReadOnlySpan<DType>)[a.DType, b.DType, c.DType, bias?.DType ?? c.DType]) RequireComputeType("a matrix product", type);
        if (batch == 0 || c.Rows == 0 || c.Columns == 0) return;
        EnsureCurrent();
        if (batch == 1 && factor == 0 && !accumulate && a.Columns > 0 && TryFewRows(a, b, c, bias, alpha)) return;
        bool isFlipped = c.IsTransposed;
        bool fits = a.DType == b.DType && (c.DType == a.DType || c.DType == DType.Float32) && a.Columns > 0 && !(isFlipped && bias is not null);
        if (fits)
        {
            // The library wants the bias in the result's type.
            using Tensor? converted = bias is not null && bias.DType != c.DType ? Tensor.AllocateUntracked(bias.Shape, c.DType, Device) : null;
            if (converted is not null) Copy(bias!, converted, accumulate: false);
            var product = new Product(a, b, c, accumulate, (converted ?? bias)?.Pointer ?? 0, alpha, factor, batch);
            // A transposed result is the product of the transposed factors in the other order.
            if (isFlipped) product = product with { A = b.Transposed, B = a.Transposed, C = c.Transposed };
            fits = Products.TryStart(product, isFlipped);
            if (fits && IsSynchronous && !IsCapturing) Check(Driver.StreamSynchronize(Stream), "a matrix product");
        }
        if (!fits) MultiplyByTiles(a, b, c, accumulate, bias, alpha, factor, batch);
    }

    // Any types and strides; the order of sums is that of the depth.
    private void MultiplyByTiles(Matrix a, Matrix b, Matrix c, bool accumulate, Tensor? bias, float alpha, nint factor, int batch)
    {
        var arguments = new ProductArguments
        {
            A = new(a), B = new(b), C = new(c), Bias = bias?.Pointer ?? 0, Factor = factor, M = c.Rows, N = c.Columns, K = a.Columns, BiasType = (int)(bias?.DType ?? c.DType), Alpha = alpha, Accumulate = accumulate ? 1 : 0,
        };
        long tiles = (c.Rows + ProductTile - 1) / ProductTile * ((c.Columns + ProductTile - 1) / ProductTile);
        Launch(ProductKernel.With(), tiles * batch, 256, in arguments);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct ProductArguments
    {
        public Operand A, B, C;
        public nint Bias, Factor;
        public long M, N, K;
        public int BiasType;
        public float Alpha;
        public int Accumulate;

        [StructLayout(LayoutKind.Sequential)]
        public readonly struct Operand(in Matrix matrix)
        {
            public readonly nint Data = matrix.Data;
            public readonly long RowStride = matrix.IsTransposed ? 1 : matrix.Stride, ColumnStride = matrix.IsTransposed ? matrix.Stride : 1, Step = matrix.Step;
            public readonly int Type = (int)matrix.DType;
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct ColumnSumsArguments
    {
        public nint Values, Partials, Factor;
        public long Rows, RowsPerChunk, Columns;
        public int Tiles, IsVector;
    }
}
