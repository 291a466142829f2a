using Varlen.Autograd;
using Varlen.Ops;
using Xunit;

namespace Varlen.Tests;

/// <summary>
/// Compares an op on a device with the CPU in double precision, on the same rounded inputs: results, and the gradients of a random weighting
/// of them, written once and then added to.
/// </summary>
internal static class DeviceCheck
{
    /// <param name="device">Where to compute.</param>
    /// <param name="dtype">What to compute in.</param>
    /// <param name="op">From the inputs to the results. Is called with double-precision tensors on the CPU too.</param>
    /// <param name="inputs">Double-precision values on the CPU.</param>
    public static void Run(Device device, DType dtype, Func<Tensor[], Tensor[]> op, params Tensor[] inputs)
    {
        Tensor[] exact = [.. inputs.Select(input => Leaf(input.To(dtype: dtype).To(dtype: DType.Float64)))], actual = [.. inputs.Select(input => Leaf(input.To(dtype: dtype).To(device)))];
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

    private static Tensor Leaf(Tensor values)
    {
        Tensor leaf = values.Clone();
        leaf.RequiresGrad = true;
        return leaf;
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
