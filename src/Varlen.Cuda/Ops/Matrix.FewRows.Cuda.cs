using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend
{
    // Warps of a block, columns of the result that a warp takes, and pieces of 16 bytes that a block takes of a line of the weights; twins of few_rows.cu.
    private const int FewRowsWarps = 8, FewRowsColumns = 2, FewRowsPieces = 4, MostFewRows = 4;

    private static readonly KernelFamily AlongLinesKernel = new("few_rows.cu", "few_rows_along_lines", KernelOption.FloatingPoint("ELEMENT")),
        AcrossLinesKernel = new("few_rows.cu", "few_rows_across_lines", KernelOption.FloatingPoint("ELEMENT"));

    /// <summary>Starts a product of a few rows with a matrix of one type and whole vectors, or gives false. Not where rows must not depend on their number.</summary>
    private bool TryFewRows(in Matrix a, in Matrix b, in Matrix c, Tensor? bias, float alpha)
    {
        int size = a.DType.Size(), vector = 16 / size;
        if (Deterministic || c.Rows > MostFewRows || a.IsTransposed || c.IsTransposed || a.DType != b.DType || c.DType != a.DType || (bias is not null && bias.DType != c.DType)) return false;
        bool along = b.IsTransposed;
        if ((along ? a.Columns : c.Columns) % vector != 0 || b.Stride % vector != 0 || !IsAligned(b.Data) || a.Columns > int.MaxValue / 2 || c.Columns > int.MaxValue / 2) return false;
        if (along && (!IsAligned(a.Data) || (a.Rows > 1 && a.Stride % vector != 0))) return false;
        var arguments = new FewRowsArguments
        {
            A = a.Data, B = b.Data, Bias = bias?.Pointer ?? 0, C = c.Data, AStride = a.Stride, BStride = b.Stride, CStride = c.Stride, Rows = (int)c.Rows, Columns = (int)c.Columns, Depth = (int)a.Columns, Alpha = alpha,
        };
        int columns = along ? FewRowsWarps * FewRowsColumns : FewRowsPieces * vector;
        Launch((along ? AlongLinesKernel : AcrossLinesKernel).With(a.DType), (c.Columns + columns - 1) / columns, 32 * FewRowsWarps, in arguments);
        return true;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct FewRowsArguments
    {
        public nint A, B, Bias, C;
        public long AStride, BStride, CStride;
        public int Rows, Columns, Depth;
        public float Alpha;
    }
}
