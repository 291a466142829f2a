using Varlen.Autograd;

namespace Varlen.Ops;

internal interface IRowGatherKernels
{
    /// <summary>
    /// destination[i] (+)= source[indices[i]] for rows of equal or convertible types, dense in themselves and <see cref="RowGather.Stride"/> apart;
    /// an index of -1 gives <paramref name="fill"/> (adds nothing when accumulating).
    /// </summary>
    void GatherRows(Tensor source, Tensor indices, Tensor destination, double fill, bool accumulate);
}

/// <summary>
/// Moves rows between two arrangements of the same tokens, packed and padded: each row of one appears at most once in the other, so the
/// gradient of a gather is the gather by the inverse indices, with no scatter and no atomics.
/// </summary>
internal static class RowGather
{
    /// <param name="op">For error messages.</param>
    /// <param name="input">[rows, ...]; a slice of a fused projection is read in place, and its gradient written there.</param>
    /// <param name="indices">For each row of the result its row of the input, or -1; dense Int32 on the input's device.</param>
    /// <param name="inverse">For each row of the input its row of the result, or -1; likewise.</param>
    /// <param name="shape">Shape of the result: indices.Count rows in all, then the input's features.</param>
    /// <param name="fill">Value of rows without a source.</param>
    public static Tensor Run(string op, Tensor input, Tensor indices, Tensor inverse, Shape shape, double fill)
    {
        var kernels = Op.Require<IRowGatherKernels>(op, input, indices, inverse);
        if (!HasDenseRows(input, inverse.Count)) input = input.Contiguous();
        Tensor output = Tensor.Allocate(shape, input.DType, input.Device);
        kernels.GatherRows(input, indices, output, fill, accumulate: false);
        return Op.Record(op, output, [input], [inverse], pass =>
        {
            GradientTarget target = pass.InputGradient(0);
            kernels.GatherRows(pass.OutputGradient()!, pass.Saved(0), target.Tensor!, 0, target.Accumulate);
        });
    }

    /// <summary>Elements from one row of <see cref="Run"/>'s tensors to the next.</summary>
    public static long Stride(Tensor rows, long features) => rows.IsContiguous ? features : rows.Strides[0];

    // Rows may be spread over several dimensions only where nothing lies between them.
    private static bool HasDenseRows(Tensor tensor, long rows)
    {
        if (tensor.IsContiguous) return true;
        if (tensor.Shape.Rank == 0 || tensor.Shape[0] != rows) return false;
        long expected = 1;
        for (int i = tensor.Shape.Rank - 1; i > 0; i--)
        {
            if (tensor.Shape[i] != 1 && tensor.Strides[i] != expected) return false;
            expected *= tensor.Shape[i];
        }
        return tensor.Strides[0] >= expected;
    }
}
