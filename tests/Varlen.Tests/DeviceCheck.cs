using Varlen.Autograd;
using Varlen.Ops;
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

    /// <summary>As <see cref="Run"/>, for several results; the random weighting of them is written once and then added to.</summary>
    /// <param name="device">Where to compute.</param>
    /// <param name="dtype">What to compute in.</param>
    /// <param name="op">From the inputs to the results. Is called with double-precision tensors on the CPU too.</param>
    /// <param name="inputs">Double-precision values on the CPU.</param>
    public static void RunAll(Device device, DType dtype, Func<Tensor[], Tensor[]> op, params Tensor[] inputs)
    {
        Tensor[] exact = [.. inputs.Select(input => Leaf(input.To(dtype: dtype).To(dtype: DType.Float64).Clone(), DType.Float64))], actual = [.. inputs.Select(input => Leaf(input.To(dtype: dtype).To(device).Clone(), dtype))];
        for (int pass = 1; pass <= 2; pass++)
        {
            using TensorScope scope = TensorScope.Begin();
            Tensor[] expectedResults = op(exact), results = op(actual);
            Tensor[] weights = [.. expectedResults.Select((result, i) => Tensor.Randn(result.Shape, (ulong)(100 + i), DType.Float64).To(dtype: dtype).To(dtype: DType.Float64))];
            for (int i = 0; i < results.Length; i++) Numeric.AssertClose(expectedResults[i].Detach(), results[i].Detach());
            Backward(expectedResults, weights);
            Backward(results, [.. weights.Zip(results, (weight, result) => weight.To(dtype: result.DType).To(device))]);
            for (int i = 0; i < inputs.Length; i++)
            {
                double[] expected = exact[i].Grad!.ToArray<double>();
                double scale = Math.Max(1, expected.Select(Math.Abs).Where(double.IsFinite).DefaultIfEmpty().Max());
                Numeric.AssertClose(exact[i].Grad!, actual[i].Grad!, dtype == DType.Float32 ? 1e-4 * scale : pass * Numeric.Tolerance(dtype, scale));
            }
        }
    }

    private static void AssertGradient(Tensor expected, Tensor actual, DType dtype, double roundings)
        => Numeric.AssertClose(expected, actual, dtype == DType.Float32 ? 1e-4 * Scale(expected) : (1 + roundings) * Numeric.Tolerance(dtype, Scale(expected)));

    private static double Scale(Tensor reference) => reference.ToArray<double>().Where(double.IsFinite).Select(Math.Abs).Append(1).Max();

    private static Tensor Leaf(Tensor tensor, DType gradientType)
    {
        tensor.Slot = GradientSlot.Leaf(tensor, gradientType);
        return tensor;
    }

    private static void Backward(Tensor[] results, Tensor[] weights)
    {
        Tensor root = Op.Record("weighted sum", Tensor.Zeros([], results[0].DType, results[0].Device), results, [], pass =>
        {
            for (int i = 0; i < weights.Length; i++)
                if (pass.Needs(i)) pass.PassThrough(i, weights[i]);
        });
        root.Backward(Tensor.Ones([], root.DType, root.Device));
    }
}
