using Varlen.Backends.Cuda.Native;
using Varlen.Ops;

namespace Varlen.Backends.Cuda.MatrixProducts;

/// <summary>How products of one key are computed: the library's descriptions of operation and operands, and the algorithm.</summary>
/// <remarks>
/// The library's matrices are column-major, so a matrix whose lines are rows is its transpose there, and what is computed is c^T = b^T a^T: b comes first.
/// </remarks>
internal sealed unsafe class ProductPlan : IDisposable
{
    private readonly nint _operation;
    private readonly Layout _a, _b, _c;
    private readonly bool _hasBias;
    private nint _bias;

    public ProductPlan(ProductKey key)
    {
        (Name, _hasBias) = (key.ToString(), key.Has(ProductTraits.Bias));
        CublasLt.Check(CublasLt.OperationCreate(out _operation, ComputeType.Float32, BlasType.Float32), "cublasLtMatmulDescCreate");
        Set(OperationAttribute.TransposeA, key.Has(ProductTraits.TransposedB) ? 1 : 0);
        Set(OperationAttribute.TransposeB, key.Has(ProductTraits.TransposedA) ? 1 : 0);
        Set(OperationAttribute.Epilogue, (int)(_hasBias ? Epilogue.Bias : Epilogue.None));
        Set(OperationAttribute.PointerMode, key.Has(ProductTraits.DeviceFactor) ? 1 : 0);
        (_a, _b, _c) = (new Layout(key.Input), new Layout(key.Input), new Layout(key.Output));
    }

    /// <summary>For the message of a fault.</summary>
    public string Name { get; }

    public ProductAlgorithm Algorithm { get; set; }

    public nuint WorkspaceBytes { get; set; }

    /// <summary>Describes a product's operands.</summary>
    public void Describe(in Product product)
    {
        _a.Describe(product.A, product.Batch);
        _b.Describe(product.B, product.Batch);
        _c.Describe(product.C, product.Batch);
        if (!_hasBias || _bias == product.Bias) return;
        nint bias = _bias = product.Bias;
        CublasLt.Check(CublasLt.OperationSet(_operation, OperationAttribute.BiasPointer, &bias, (nuint)sizeof(nint)), "cublasLtMatmulDescSetAttribute");
    }

    /// <summary>Algorithms for the product described last, the most promising first.</summary>
    public int Propose(nint handle, nint preference, Span<ProductCandidate> candidates)
    {
        fixed (ProductCandidate* p = candidates)
            return CublasLt.Candidates(handle, _operation, _b.Descriptor, _a.Descriptor, _c.Descriptor, _c.Descriptor, preference, candidates.Length, p, out int found) == BlasStatus.Success ? found : 0;
    }

    /// <summary>Whether an algorithm can compute the product described last.</summary>
    public bool Accepts(nint handle, ProductAlgorithm algorithm, nuint workspaceBytes)
        => CublasLt.AlgorithmCheck(handle, _operation, _b.Descriptor, _a.Descriptor, _c.Descriptor, _c.Descriptor, &algorithm, out ProductCandidate result) == BlasStatus.Success
            && result.WorkspaceBytes <= workspaceBytes;

    /// <summary>Starts the product described last.</summary>
    public BlasStatus Start(nint handle, in Product product, ProductAlgorithm algorithm, nint workspace, nuint workspaceBytes, nint zeroAndOne, nint stream)
    {
        float alpha = product.Alpha, beta = product.Accumulate ? 1 : 0;
        bool onDevice = product.Factor != 0;
        void* scale = onDevice ? (void*)product.Factor : &alpha;
        void* keep = onDevice ? (float*)zeroAndOne + (product.Accumulate ? 1 : 0) : &beta;
        return CublasLt.Multiply(
            handle, _operation, scale, product.B.Data, _b.Descriptor, product.A.Data, _a.Descriptor, keep, product.C.Data, _c.Descriptor, product.C.Data, _c.Descriptor, &algorithm,
            workspaceBytes == 0 ? 0 : workspace, workspaceBytes, stream);
    }

    public void Dispose()
    {
        CublasLt.OperationDestroy(_operation);
        _a.Dispose();
        _b.Dispose();
        _c.Dispose();
    }

    private void Set(OperationAttribute attribute, int value) => CublasLt.Check(CublasLt.OperationSet(_operation, attribute, &value, sizeof(int)), "cublasLtMatmulDescSetAttribute");

    /// <summary>The library's description of an operand, changed only where the last product's differs: the layers of a model all have the same.</summary>
    private sealed class Layout : IDisposable
    {
        private long _lines = 1, _length = 1, _stride = 1, _step;
        private int _batch = 1;

        public Layout(DType type)
        {
            BlasType blas = type switch { DType.Float32 => BlasType.Float32, DType.BFloat16 => BlasType.BFloat16, _ => BlasType.Float16 };
            CublasLt.Check(CublasLt.LayoutCreate(out nint descriptor, blas, 1, 1, 1), "cublasLtMatrixLayoutCreate");
            Descriptor = descriptor;
        }

        public nint Descriptor { get; }

        public void Describe(in Matrix matrix, int batch)
        {
            (long lines, long length) = matrix.IsTransposed ? (matrix.Columns, matrix.Rows) : (matrix.Rows, matrix.Columns);
            Set(LayoutAttribute.Rows, ref _length, length);
            Set(LayoutAttribute.Columns, ref _lines, lines);
            Set(LayoutAttribute.Stride, ref _stride, matrix.Stride);
            if (batch != _batch)
            {
                int count = _batch = batch;
                CublasLt.Check(CublasLt.LayoutSet(Descriptor, LayoutAttribute.BatchCount, &count, sizeof(int)), "cublasLtMatrixLayoutSetAttribute");
            }
            Set(LayoutAttribute.BatchStep, ref _step, batch > 1 ? matrix.Step : 0);
        }

        public void Dispose() => CublasLt.LayoutDestroy(Descriptor);

        private void Set(LayoutAttribute attribute, ref long known, long value)
        {
            if (known == value) return;
            known = value;
            CublasLt.Check(CublasLt.LayoutSet(Descriptor, attribute, &value, sizeof(long)), "cublasLtMatrixLayoutSetAttribute");
        }
    }
}
