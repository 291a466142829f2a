using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Ops
{
    /// <summary>Functions of one value x and, in the first group, one constant c.</summary>
    internal enum UnaryFunction
    {
        /// <summary>x + c</summary>
        AddConstant,
        /// <summary>c - x</summary>
        SubtractFrom,
        /// <summary>c * x</summary>
        Scale,
        /// <summary>x / c</summary>
        DivideBy,
        /// <summary>c / x</summary>
        DivideInto,
        Exp, Log, Sqrt, Tanh, Sigmoid, Relu, Silu,
    }

    internal interface IUnaryKernels
    {
        /// <summary>output = function(input), dense; the constant is not rounded to the element type.</summary>
        void Unary(UnaryFunction function, double constant, Tensor input, Tensor output);

        /// <summary><paramref name="saved"/> is the output for functions whose gradient it gives (<see cref="Ops.Unary.ReadsOutput"/>), else the input.</summary>
        void UnaryBackward(UnaryFunction function, double constant, Tensor outputGradient, Tensor saved, GradientTarget inputGradient);
    }

    internal static class Unary
    {
        public static bool ReadsOutput(UnaryFunction function)
            => function is UnaryFunction.Exp or UnaryFunction.Sqrt or UnaryFunction.Tanh or UnaryFunction.Sigmoid or UnaryFunction.Relu;

        public static Tensor Apply(UnaryFunction function, Tensor input, string op, double constant = 0)
        {
            ArgumentNullException.ThrowIfNull(input);
            Op.Check(input.DType.IsFloatingPoint(), op, nameof(input), $"{input.DType} is not a floating-point type; convert with To(dtype:)");
            var kernels = Op.Require<IUnaryKernels>(op, input);
            Tensor output = Op.Like(input);
            kernels.Unary(function, constant, input, output);
            // The gradient of the linear ones needs no value.
            bool isLinear = function is UnaryFunction.AddConstant or UnaryFunction.SubtractFrom or UnaryFunction.Scale or UnaryFunction.DivideBy;
            return Op.Record(op, output, [input], [isLinear ? null : ReadsOutput(function) ? output : input], pass =>
            {
                Tensor gradient = pass.OutputGradient()!;
                if (function == UnaryFunction.AddConstant) pass.PassThrough(0, gradient);
                else kernels.UnaryBackward(function, constant, gradient, isLinear ? gradient : pass.Saved(0), pass.InputGradientOver(0, 0));
            });
        }
    }
}

namespace Varlen.Nn
{
    public static partial class Functional
    {
        /// <summary>e to the power of each element.</summary>
        /// <param name="input">Any floating-point type and shape.</param>
        /// <returns>A tensor like <paramref name="input"/>.</returns>
        /// <exception cref="ArgumentException">The type is not floating-point.</exception>
        public static Tensor Exp(Tensor input) => Unary.Apply(UnaryFunction.Exp, input, nameof(Exp));

        /// <summary>Natural logarithm of each element.</summary>
        /// <inheritdoc cref="Exp(Tensor)"/>
        public static Tensor Log(Tensor input) => Unary.Apply(UnaryFunction.Log, input, nameof(Log));

        /// <summary>Square root of each element.</summary>
        /// <inheritdoc cref="Exp(Tensor)"/>
        public static Tensor Sqrt(Tensor input) => Unary.Apply(UnaryFunction.Sqrt, input, nameof(Sqrt));

        /// <summary>Hyperbolic tangent of each element.</summary>
        /// <inheritdoc cref="Exp(Tensor)"/>
        public static Tensor Tanh(Tensor input) => Unary.Apply(UnaryFunction.Tanh, input, nameof(Tanh));

        /// <summary>Logistic function of each element, <c>1 / (1 + e^-x)</c>.</summary>
        /// <inheritdoc cref="Exp(Tensor)"/>
        public static Tensor Sigmoid(Tensor input) => Unary.Apply(UnaryFunction.Sigmoid, input, nameof(Sigmoid));

        /// <summary>The larger of each element and zero. The gradient at zero is zero; NaN stays NaN.</summary>
        /// <inheritdoc cref="Exp(Tensor)"/>
        public static Tensor Relu(Tensor input) => Unary.Apply(UnaryFunction.Relu, input, nameof(Relu));

        /// <summary>Each element times its logistic function, <c>x / (1 + e^-x)</c>. (Hendrycks and Gimpel, 2016; also called swish.)</summary>
        /// <inheritdoc cref="Exp(Tensor)"/>
        public static Tensor Silu(Tensor input) => Unary.Apply(UnaryFunction.Silu, input, nameof(Silu));
    }
}
