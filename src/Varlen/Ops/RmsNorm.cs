using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Ops
{
    internal interface IRmsNormKernels
    {
        /// <summary>output = input * rstd * weight; rstd [rows] is kept for the backward pass.</summary>
        void RmsNormForward(Tensor input, Tensor weight, double epsilon, Tensor output, Tensor rstd);

        void RmsNormBackward(Tensor outputGradient, Tensor input, Tensor weight, Tensor rstd, GradientTarget inputGradient, GradientTarget weightGradient);
    }
}

namespace Varlen.Nn
{
    public static partial class Functional
    {
        /// <summary>
        /// Divides each row by its root mean square and multiplies by a gain: <c>y = x / sqrt(mean(x^2) + epsilon) * weight</c>.
        /// (Zhang and Sennrich, 2019.)
        /// </summary>
        /// <param name="input">Activations, <c>[..., features]</c>, any floating-point type. Statistics are single precision (double for Float64).</param>
        /// <param name="weight">Gain, <c>[features]</c>, of the input's type.</param>
        /// <param name="epsilon">Added to the mean square.</param>
        /// <returns>A tensor like <paramref name="input"/>.</returns>
        /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
        public static Tensor RmsNorm(Tensor input, Tensor weight, double epsilon = 1e-6)
        {
            const string op = nameof(RmsNorm);
            int features = Op.RequireRows(op, input);
            Op.RequireVector(op, weight, features, input, nameof(weight));
            var kernels = Op.Require<IRmsNormKernels>(op, input, weight);
            input = input.Contiguous();
            Tensor output = Op.Like(input);
            Tensor rstd = Op.RowStatistic(input);
            kernels.RmsNormForward(input, weight, epsilon, output, rstd);
            return Op.Record(op, output, [input, weight], [input, weight, rstd], pass =>
                kernels.RmsNormBackward(pass.OutputGradient()!, pass.Saved(0), pass.Saved(1), pass.Saved(2), pass.InputGradientOver(0, 0), pass.InputGradient(1)));
        }
    }
}
