using Varlen.Ops;

namespace Varlen.Nn;

/// <summary>How a linear layer's weight is stored.</summary>
public enum WeightLayout
{
    /// <summary><c>[out, in]</c>: PyTorch's Linear.</summary>
    OutIn,
    /// <summary><c>[in, out]</c>: the Conv1D of GPT-2's published weights.</summary>
    InOut,
}

public static partial class Functional
{
    /// <summary>Applies a linear map to each row: <c>y = x W^T + b</c>, or <c>x W + b</c> for a weight stored <c>[in, out]</c>.</summary>
    /// <param name="input">Activations, <c>[..., in]</c>, any floating-point type. Rows may be slices of a wider tensor: they are read in place.</param>
    /// <param name="weight">Weight, of the input's type, stored as <paramref name="layout"/> says.</param>
    /// <param name="bias">Bias, <c>[out]</c>, of the input's type; none when null.</param>
    /// <param name="layout">How the weight is stored.</param>
    /// <returns><c>[..., out]</c>. 16-bit types are accumulated in single precision and rounded once.</returns>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
    public static Tensor Linear(Tensor input, Tensor weight, Tensor? bias = null, WeightLayout layout = WeightLayout.OutIn)
    {
        const string op = nameof(Linear);
        (int features, bool outIn) = (Op.RequireRows(op, input), layout == WeightLayout.OutIn);
        int outputs = LinearArguments.Check(op, input, features, weight, bias, outIn);
        var kernels = Op.Require<IMatrixProductKernels>(op, input, weight, bias);
        input = Matrix.Fitting(input);
        weight = Matrix.Fitting(weight);
        int[] sizes = input.Shape.Dimensions.ToArray();
        sizes[^1] = outputs;
        Tensor output = Tensor.Allocate(new Shape(sizes), input.DType, input.Device);
        Matrix w = Matrix.From(weight);
        kernels.Multiply(Matrix.From(input), outIn ? w.Transposed : w, Matrix.From(output), accumulate: false, bias);
        return Op.Record(op, output, [input, weight, bias], [weight.RequiresGrad ? input : null, input.RequiresGrad ? weight : null], pass =>
        {
            Tensor gradient = pass.OutputGradient()!;
            Matrix dy = Matrix.From(gradient);
            if (pass.InputGradient(2) is { IsWanted: true } biasGradient) kernels.ColumnSums(gradient, biasGradient);
            if (pass.InputGradient(1) is { Tensor: { } weightTensor } weightGradient)
            {
                // dW = dY^T X, and its transpose for the other layout, straight into the parameter's gradient.
                Matrix dw = Matrix.From(weightTensor);
                kernels.Multiply(dy.Transposed, Matrix.From(pass.Saved(0)), outIn ? dw : dw.Transposed, weightGradient.Accumulate);
            }
            if (pass.InputGradient(0) is { Tensor: { } inputTensor } inputGradient)
            {
                Matrix saved = Matrix.From(pass.Saved(1));
                kernels.Multiply(dy, outIn ? saved : saved.Transposed, Matrix.From(inputTensor), inputGradient.Accumulate);
            }
        });
    }
}
