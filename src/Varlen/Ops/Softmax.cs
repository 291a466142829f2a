using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Ops
{
    internal interface ISoftmaxKernels
    {
        /// <summary>Dense rows; the logarithm of the softmax when asked for.</summary>
        void SoftmaxForward(Tensor input, Tensor output, bool logarithm);

        void SoftmaxBackward(Tensor outputGradient, Tensor output, bool logarithm, GradientTarget inputGradient);
    }

    internal static class Softmaxes
    {
        public static Tensor Apply(string op, Tensor input, bool logarithm)
        {
            _ = Op.RequireRows(op, input);
            var kernels = Op.Require<ISoftmaxKernels>(op, input);
            input = input.Contiguous();
            Tensor output = Op.Like(input);
            kernels.SoftmaxForward(input, output, logarithm);
            return Op.Record(op, output, [input], [output], pass =>
                kernels.SoftmaxBackward(pass.OutputGradient()!, pass.Saved(0), logarithm, pass.InputGradientOver(0, 0)));
        }
    }
}

namespace Varlen.Nn
{
    public static partial class Functional
    {
        /// <summary>
        /// <c>e^x / sum(e^x)</c> over the last dimension. The row's maximum is subtracted first, so no finite input overflows. A row
        /// whose elements are all -infinity gives NaN, as 0 / 0 does and as in PyTorch; attention has its own rule for such rows.
        /// </summary>
        /// <param name="input">Any floating-point type, <c>[..., features]</c>.</param>
        /// <returns>A tensor like <paramref name="input"/>.</returns>
        /// <exception cref="ArgumentException">The input is a scalar, or not floating-point.</exception>
        public static Tensor Softmax(Tensor input) => Softmaxes.Apply(nameof(Softmax), input, logarithm: false);

        /// <summary>Logarithm of <see cref="Softmax"/>, computed without taking the logarithm of a small number: <c>x - log(sum(e^x))</c>.</summary>
        /// <inheritdoc cref="Softmax"/>
        public static Tensor LogSoftmax(Tensor input) => Softmaxes.Apply(nameof(LogSoftmax), input, logarithm: true);
    }
}
