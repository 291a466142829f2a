namespace Varlen.Ops;

/// <summary>
/// A tensor as a matrix product reads or writes it: lines of adjacent elements, <paramref name="Stride"/> elements apart, which are its
/// rows, or its columns when transposed. So slices of a fused projection and transposed views need no copy.
/// </summary>
/// <param name="Data">Address of the first element.</param>
/// <param name="DType">Element type.</param>
/// <param name="Rows">Number of rows.</param>
/// <param name="Columns">Number of columns.</param>
/// <param name="Stride">Elements between lines.</param>
/// <param name="IsTransposed">Whether the lines are columns.</param>
/// <param name="Step">Elements to the next matrix of a batch; 0 repeats this one.</param>
internal readonly record struct Matrix(nint Data, DType DType, long Rows, long Columns, long Stride, bool IsTransposed = false, long Step = 0)
{
    /// <summary>The transpose, on the same memory.</summary>
    public Matrix Transposed => this with { Rows = Columns, Columns = Rows, IsTransposed = !IsTransposed };

    /// <summary>One matrix of a batch.</summary>
    public Matrix At(long index) => this with { Data = Data + (nint)(index * Step * DType.Size()) };

    /// <summary>Rows [first, first + count).</summary>
    public Matrix RowRange(long first, long count) => this with { Data = Data + (nint)(first * (IsTransposed ? 1 : Stride) * DType.Size()), Rows = count };

    /// <summary>The tensor itself where its strides fit, else a dense copy through which gradients flow back.</summary>
    public static Tensor Fitting(Tensor tensor, bool batched = false) => TryFrom(tensor, batched, out _) ? tensor : tensor.Contiguous();

    /// <summary>All of a tensor as one matrix, <c>[..., columns]</c>, or as a batch of them, <c>[batch, rows, columns]</c>.</summary>
    public static Matrix From(Tensor tensor, bool batched = false)
        => TryFrom(tensor, batched, out Matrix matrix) ? matrix : throw new InvalidOperationException($"a tensor {tensor.Shape} with these strides is not a matrix");

    private static bool TryFrom(Tensor tensor, bool batched, out Matrix matrix)
    {
        ReadOnlySpan<int> shape = tensor.Shape.Dimensions;
        ReadOnlySpan<long> strides = tensor.Strides;
        long step = 0;
        if (batched)
        {
            step = strides[0];
            shape = shape[1..];
            strides = strides[1..];
        }
        long rows = 1, columns = shape[^1], stride = columns;
        bool regular = true;
        for (int i = shape.Length - 2; i >= 0; i--)
        {
            if (shape[i] == 1) continue;
            if (rows == 1) stride = strides[i];
            else regular &= strides[i] == stride * rows;
            rows *= shape[i];
        }
        matrix = new Matrix(tensor.Pointer, tensor.DType, rows, columns, Math.Max(stride, 1), false, step);
        if (tensor.Count == 0)
        {
            matrix = matrix with { Stride = Math.Max(columns, 1) };
            return true;
        }
        if (regular && (columns == 1 || strides[^1] == 1) && stride >= columns) return true;
        if (shape.Length != 2 || (rows != 1 && strides[0] != 1) || strides[1] < rows) return false;
        matrix = matrix with { Stride = strides[1], IsTransposed = true };
        return true;
    }
}

internal interface IMatrixProductKernels
{
    /// <summary>c (+)= alpha * a b + bias, for each of <paramref name="batch"/> matrices. c overlaps no operand.</summary>
    void Multiply(Matrix a, Matrix b, Matrix c, bool accumulate, Tensor? bias = null, double alpha = 1, int batch = 1);

    /// <summary>target (+)= scale * sum over the rows of a dense tensor [..., columns]: a bias's gradient.</summary>
    void ColumnSums(Tensor rows, Autograd.GradientTarget target, double scale = 1);
}
