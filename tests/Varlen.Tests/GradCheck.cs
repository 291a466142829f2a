using Varlen.Autograd;
using Xunit;

namespace Varlen.Tests;

/// <summary>
/// Compares an op's gradients in double precision with central differences, for a random weighting of its outputs. Also proves the
/// destination contract: the same gradients must come out when they are added to what is there.
/// </summary>
internal static class GradCheck
{
    /// <param name="op">From the inputs to one result.</param>
    /// <param name="inputs">Double-precision leaves; all are checked.</param>
    /// <param name="step">Half the distance of the differences.</param>
    public static void Run(Func<Tensor[], Tensor> op, Tensor[] inputs, double step = 1e-5, double tolerance = 1e-6)
        => RunAll(tensors => [op(tensors)], inputs, step, tolerance);

    /// <summary>As <see cref="Run"/>, for several results.</summary>
    public static void RunAll(Func<Tensor[], Tensor[]> op, Tensor[] inputs, double step = 1e-5, double tolerance = 1e-6)
    {
        foreach (Tensor input in inputs)
        {
            Assert.Equal(DType.Float64, input.DType);
            input.RequiresGrad = true;
        }
        double[][] weights;
        using (TensorScope.Begin())
        {
            var random = new Random(7);
            weights = [.. op(inputs).Select(output => Enumerable.Range(0, (int)output.Count).Select(_ => random.NextDouble() * 2 - 1).ToArray())];
        }
        // Twice: the second pass adds to the first one's gradients.
        Backward(op, inputs, weights);
        double[][] once = [.. inputs.Select(input => input.Grad!.ToArray<double>())];
        Backward(op, inputs, weights);
        for (int i = 0; i < inputs.Length; i++)
        {
            double[] twice = inputs[i].Grad!.ToArray<double>();
            for (int j = 0; j < twice.Length; j++) Close(2 * once[i][j], twice[j], tolerance, $"accumulated gradient {i}[{j}]");
            double[] values = inputs[i].ToArray<double>();
            for (int j = 0; j < values.Length; j++)
            {
                double difference = (Loss(values[j] + step) - Loss(values[j] - step)) / (2 * step);
                Set(values[j]);
                Close(difference, once[i][j], tolerance, $"gradient {i}[{j}]");

                double Loss(double value)
                {
                    Set(value);
                    using TensorScope scope = TensorScope.Begin();
                    using var region = GradMode.NoGrad();
                    return op(inputs).Zip(weights, (output, w) => output.ToArray<double>().Zip(w, (a, b) => a * b).Sum()).Sum();
                }

                unsafe void Set(double value) => inputs[i].Data<double>()[j] = value;
            }
        }
    }

    private static void Backward(Func<Tensor[], Tensor[]> op, Tensor[] inputs, double[][] weights)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor[] outputs = op(inputs);
        // One root over all results, so that one backward pass sees them together.
        var total = Tensor.Zeros([], DType.Float64);
        Tensor[] held = outputs;
        Tensor root = Varlen.Ops.Op.Record("weighted sum", total, held, [], pass =>
        {
            for (int i = 0; i < weights.Length; i++)
                if (pass.Needs(i)) pass.PassThrough(i, Tensor.From(weights[i], [weights[i].Length]));
        });
        root.Backward();
    }

    private static void Close(double expected, double actual, double tolerance, string what)
        => Assert.True(Math.Abs(expected - actual) <= tolerance * Math.Max(1, Math.Abs(expected)), $"{what}: expected {expected:R}, got {actual:R}");
}
