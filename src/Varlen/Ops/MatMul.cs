using Varlen.Ops;

namespace Varlen.Nn;

public static partial class Functional
{
    /// <summary>Matrix product of two matrices, of two batches of matrices, or of a batch with one matrix.</summary>
    /// <param name="left"><c>[m, k]</c> or <c>[batch, m, k]</c>, any floating-point type. Strided and transposed views are read in place.</param>
    /// <param name="right"><c>[k, n]</c>, shared by a batch on the left, or <c>[batch, k, n]</c>; of the left's type.</param>
    /// <returns><c>[m, n]</c> or <c>[batch, m, n]</c>. 16-bit types are accumulated in single precision.</returns>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
    public static Tensor MatMul(Tensor left, Tensor right)
    {
        const string op = nameof(MatMul);
        Op.RequireRows(op, left, nameof(left));
        Op.RequireRows(op, right, nameof(right));
        Op.SameType(op, left, right, nameof(right));
        Op.Check(left.Shape.Rank is 2 or 3, op, nameof(left), $"shape {left.Shape} is neither [m, k] nor [batch, m, k]; use Reshape");
        bool batched = right.Shape.Rank == 3;
        Op.Check(
            right.Shape.Rank is 2 or 3 && (!batched || (left.Shape.Rank == 3 && left.Shape[0] == right.Shape[0])) && right.Shape[-2] == left.Shape[-1],
            op, nameof(right), $"shape {right.Shape} does not fit left {left.Shape}; expected [{left.Shape[-1]}, n], or [{(left.Shape.Rank == 3 ? $"{left.Shape[0]}" : "batch")}, {left.Shape[-1]}, n] for a batch on both sides");
        var kernels = Op.Require<IMatrixProductKernels>(op, left, right);
        left = Matrix.Fitting(left, batched);
        right = Matrix.Fitting(right, batched);
        int[] sizes = left.Shape.Dimensions.ToArray();
        sizes[^1] = right.Shape[-1];
        int batch = batched ? sizes[0] : 1;
        Tensor output = Tensor.Allocate(new Shape(sizes), left.DType, left.Device);
        kernels.Multiply(Matrix.From(left, batched), Matrix.From(right, batched), Matrix.From(output, batched), accumulate: false, batch: batch);
        return Op.Record(op, output, [left, right], [right.RequiresGrad ? left : null, left.RequiresGrad ? right : null], pass =>
        {
            Matrix gradient = Matrix.From(pass.OutputGradient()!, batched);
            if (pass.InputGradient(0) is { Tensor: { } leftGradient } first)
                kernels.Multiply(gradient, Matrix.From(pass.Saved(1), batched).Transposed, Matrix.From(leftGradient, batched), first.Accumulate, batch: batch);
            if (pass.InputGradient(1) is { Tensor: { } rightGradient } second)
                kernels.Multiply(Matrix.From(pass.Saved(0), batched).Transposed, gradient, Matrix.From(rightGradient, batched), second.Accumulate, batch: batch);
        });
    }
}
