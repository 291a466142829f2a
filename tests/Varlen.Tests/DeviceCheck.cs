using Varlen.Autograd;
using Xunit;

namespace Varlen.Tests;

/// <summary>
/// Compares an op on a device, results and gradients, with the CPU in double precision on the same rounded inputs: gradients of the op's type and
/// in single precision, overwritten and added to, into buffers of their own and over the output's gradient.
/// </summary>
internal static class DeviceCheck
{
    /// <param name="device">Where.</param>
    /// <param name="dtype">Type to compute in.</param>
    /// <param name="op">From the inputs to one result, on the inputs' device.</param>
    /// <param name="inputs">On the CPU; all get gradients.</param>
    /// <param name="roundings">How many roundings to the type a result may have gone through.</param>
    public static void Run(Device device, DType dtype, Func<Tensor[], Tensor> op, Tensor[] inputs, double roundings = 1)
    {
        Tensor[] rounded = [.. inputs.Select(input => input.To(dtype: dtype))];
        Tensor[] exact = [.. rounded.Select(input => Leaf(input.To(dtype: DType.Float64).Clone(), DType.Float64))];
        Tensor expected = op(exact), gradient = Tensor.Randn(expected.Shape, 99, dtype);
        expected.Backward(gradient.To(dtype: DType.Float64));
        foreach (DType gradientType in (DType[])[dtype, DType.Float32])
        {
            Tensor[] leaves = [.. rounded.Select(input => Leaf(input.To(device).Clone(), gradientType))];
            for (int pass = 1; pass <= 2; pass++)
            {
                Tensor actual = op(leaves);
                Numeric.AssertClose(expected, actual, roundings * Numeric.Tolerance(dtype, Scale(expected)));
                actual.Backward(gradient.To(device));
                for (int i = 0; i < leaves.Length; i++) AssertGradient(exact[i].Grad! * (double)pass, leaves[i].Grad!, dtype, pass * roundings);
            }
        }
        Tensor[] sources = [.. rounded.Select(input => Leaf(input.To(device).Clone(), dtype))];
        op([.. sources.Select(source => source * 1.0)]).Backward(gradient.To(device));
        for (int i = 0; i < sources.Length; i++) AssertGradient(exact[i].Grad!, sources[i].Grad!, dtype, roundings);
    }

    private static void AssertGradient(Tensor expected, Tensor actual, DType dtype, double roundings)
        => Numeric.AssertClose(expected, actual, dtype == DType.Float32 ? 1e-4 * Scale(expected) : (1 + roundings) * Numeric.Tolerance(dtype, Scale(expected)));

    private static double Scale(Tensor reference) => reference.ToArray<double>().Where(double.IsFinite).Select(Math.Abs).Append(1).Max();

    private static Tensor Leaf(Tensor tensor, DType gradientType)
    {
        tensor.Slot = GradientSlot.Leaf(tensor, gradientType);
        return tensor;
    }
}
