using Varlen.Autograd;

namespace Varlen.Ops;

internal interface IRowGatherKernels
{
    /// <summary>
    /// destination[i] (+)= source[indices[i]] for dense [rows, features] blocks of equal or convertible types; an index of -1 gives
    /// <paramref name="fill"/> (adds nothing when accumulating).
    /// </summary>
    void GatherRows(Tensor source, ReadOnlySpan<int> indices, Tensor destination, double fill, bool accumulate);
}

/// <summary>
/// Moves rows between two arrangements of the same tokens, packed and padded: each row of one appears at most once in the other, so the
/// gradient of a gather is the gather by the inverse indices, with no scatter and no atomics.
/// </summary>
internal static class RowGather
{
    /// <param name="op">For error messages.</param>
    /// <param name="input">[rows, ...].</param>
    /// <param name="indices">For each row of the result its row of the input, or -1.</param>
    /// <param name="inverse">For each row of the input its row of the result, or -1.</param>
    /// <param name="shape">Shape of the result: indices.Length rows in all, then the input's features.</param>
    /// <param name="fill">Value of rows without a source.</param>
    public static Tensor Run(string op, Tensor input, int[] indices, int[] inverse, Shape shape, double fill)
    {
        var kernels = Op.Require<IRowGatherKernels>(op, input);
        input = input.Contiguous();
        Tensor output = Tensor.Allocate(shape, input.DType, input.Device);
        kernels.GatherRows(input, indices, output, fill, accumulate: false);
        return Op.Record(op, output, [input], [], pass =>
        {
            GradientTarget target = pass.InputGradient(0);
            kernels.GatherRows(pass.OutputGradient()!, inverse, target.Tensor!, 0, target.Accumulate);
        });
    }
}
