using Varlen.Autograd;
using Varlen.Nn;
using Varlen.Ops;

namespace Varlen.Ops
{
    internal interface IGeluKernels
    {
        /// <summary>output = gelu(input + bias); any strides of the input, a dense output and bias.</summary>
        void GeluForward(Tensor input, Tensor? bias, GeluForm form, Tensor output);

        void GeluBackward(Tensor outputGradient, Tensor input, Tensor? bias, GeluForm form, GradientTarget inputGradient, GradientTarget biasGradient);
    }
}

namespace Varlen.Nn
{
    /// <summary>Which formula <see cref="Functional.Gelu"/> computes.</summary>
    public enum GeluForm
    {
        /// <summary><c>x * cdf(x)</c> with the cumulative distribution of the standard normal distribution. PyTorch's default.</summary>
        Exact,
        /// <summary><c>x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))</c>: <c>gelu_new</c> of GPT-2.</summary>
        Tanh,
    }

    public static partial class Functional
    {
        /// <summary>
        /// Gaussian error linear unit of the input plus an optional bias, in one pass: <c>gelu(input + bias)</c>. (Hendrycks and Gimpel, 2016.)
        /// </summary>
        /// <remarks>
        /// An op that needs the result in its backward pass, as the linear layer behind it does, rebuilds it from the input instead of
        /// keeping it.
        /// </remarks>
        /// <param name="input">Any floating-point type, <c>[..., features]</c>, or any shape without a bias.</param>
        /// <param name="bias">Added first, <c>[features]</c>, of the input's type; none when null.</param>
        /// <param name="approximate">The exact form, or the tanh approximation.</param>
        /// <returns>A tensor like <paramref name="input"/>.</returns>
        /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
        public static Tensor Gelu(Tensor input, Tensor? bias = null, GeluForm approximate = GeluForm.Exact)
        {
            const string op = nameof(Gelu);
            ArgumentNullException.ThrowIfNull(input);
            Op.Check(input.DType.IsFloatingPoint(), op, nameof(input), $"{input.DType} is not a floating-point type; convert with To(dtype:)");
            Op.Check(approximate is GeluForm.Exact or GeluForm.Tanh, op, nameof(approximate), $"there is no form {approximate}");
            if (bias is not null) Op.RequireVector(op, bias, Op.RequireRows(op, input), input, nameof(bias));
            var kernels = Op.Require<IGeluKernels>(op, input, bias);
            Tensor output = Op.Like(input);
            kernels.GeluForward(input, bias, approximate, output);
            if (!Op.Records(input, bias)) return output;
            bool hasBias = bias is not null;
            output.Recipe = Recipe.From(sources => Gelu(sources[0], hasBias ? sources[1] : null, approximate), hasBias ? [input, bias!] : [input]);
            return Op.Record(op, output, [input, bias], [input, bias], pass =>
                kernels.GeluBackward(pass.OutputGradient()!, pass.Saved(0), hasBias ? pass.Saved(1) : null, approximate, pass.InputGradientOver(0, 0), pass.InputGradient(1)));
        }
    }
}
