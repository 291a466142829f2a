using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Ops
{
    internal enum BinaryFunction
    {
        Add, Subtract, Multiply, Divide,
    }

    internal interface IBinaryKernels
    {
        /// <summary>output = function(first, second); the inputs broadcast to the output's shape.</summary>
        void Binary(BinaryFunction function, Tensor first, Tensor second, Tensor output);

        /// <summary>
        /// Gradients of the broadcast shape. They may be written over the output's gradient, which is read first. An input whose value
        /// no wanted gradient needs may be any tensor of its shape.
        /// </summary>
        void BinaryBackward(BinaryFunction function, Tensor outputGradient, Tensor first, Tensor second, GradientTarget firstGradient, GradientTarget secondGradient);

        /// <summary>destination += scale * source, which broadcasts to it.</summary>
        void AddScaled(Tensor destination, Tensor source, double scale);
    }

    internal static class Binary
    {
        public static Tensor Apply(BinaryFunction function, Tensor first, Tensor second)
        {
            string op = function.ToString();
            (Shape shape, IBinaryKernels kernels) = Prepare(op, first, second, nameof(first), nameof(second));
            Tensor output = Tensor.Allocate(shape, first.DType, first.Device);
            kernels.Binary(function, first, second, output);
            if (!Op.Records(first, second)) return output;
            bool reads = function is BinaryFunction.Multiply or BinaryFunction.Divide;
            // A product's gradient reads the other factor only; a quotient's divisor serves both.
            bool keepsFirst = reads && second.RequiresGrad;
            bool keepsSecond = function == BinaryFunction.Divide || (reads && first.RequiresGrad);
            Shape firstShape = first.Shape, secondShape = second.Shape;
            return Op.Record(op, output, [first, second], [keepsFirst ? first : null, keepsSecond ? second : null], pass =>
            {
                Tensor gradient = pass.OutputGradient()!;
                if (reads) Products(pass, gradient);
                else Terms(pass, gradient);
            });

            void Terms(BackwardPass pass, Tensor gradient)
            {
                if (firstShape == gradient.Shape) pass.PassThrough(0, gradient);
                else Broadcasting.SumTo(pass.InputGradient(0), gradient);
                if (function == BinaryFunction.Add && secondShape == gradient.Shape) pass.PassThrough(1, gradient);
                else if (function == BinaryFunction.Add) Broadcasting.SumTo(pass.InputGradient(1), gradient);
                else if (pass.Needs(1)) Write(pass, gradient, gradient, gradient, skipsFirst: true);
            }

            void Products(BackwardPass pass, Tensor gradient)
                => Write(pass, gradient, keepsFirst ? pass.Saved(0) : gradient, keepsSecond ? pass.Saved(1) : gradient, skipsFirst: false);

            void Write(BackwardPass pass, Tensor gradient, Tensor a, Tensor b, bool skipsFirst)
            {
                GradientTarget targetA = skipsFirst ? default : Target(0, firstShape), targetB = Target(1, secondShape);
                GradientTarget wholeA = Whole(targetA, firstShape), wholeB = Whole(targetB, secondShape);
                kernels.BinaryBackward(function, gradient, a, b, wholeA, wholeB);
                if (wholeA != targetA) Broadcasting.SumTo(targetA, wholeA.Tensor!);
                if (wholeB != targetB) Broadcasting.SumTo(targetB, wholeB.Tensor!);

                GradientTarget Target(int input, Shape shape) => shape == gradient.Shape ? pass.InputGradientOver(input, 0) : pass.InputGradient(input);

                GradientTarget Whole(GradientTarget target, Shape shape)
                    => !target.IsWanted || shape == gradient.Shape ? target : new GradientTarget(Op.Like(gradient), false);
            }
        }

        public static (Shape Shape, IBinaryKernels Kernels) Prepare(string op, Tensor first, Tensor second, string firstName, string secondName)
        {
            ArgumentNullException.ThrowIfNull(first, firstName);
            ArgumentNullException.ThrowIfNull(second, secondName);
            Op.Check(first.DType.IsFloatingPoint(), op, firstName, $"{first.DType} is not a floating-point type; convert with To(dtype:)");
            Op.SameType(op, first, second, secondName);
            return (Broadcasting.Common(op, first.Shape, second.Shape, secondName), Op.Require<IBinaryKernels>(op, first, second));
        }
    }
}

namespace Varlen.Nn
{
    public static partial class Functional
    {
        /// <summary>Elementwise sum. Where shapes are equal the gradient is handed on without a copy.</summary>
        /// <param name="first">Any floating-point type and shape.</param>
        /// <param name="second">The same type; the shapes broadcast as NumPy's do: lined up at the end, sizes equal or 1.</param>
        /// <returns>A tensor of the common shape.</returns>
        /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
        public static Tensor Add(Tensor first, Tensor second) => Binary.Apply(BinaryFunction.Add, first, second);

        /// <summary>Elementwise difference.</summary>
        /// <inheritdoc cref="Add(Tensor, Tensor)"/>
        public static Tensor Subtract(Tensor first, Tensor second) => Binary.Apply(BinaryFunction.Subtract, first, second);

        /// <summary>Elementwise product.</summary>
        /// <inheritdoc cref="Add(Tensor, Tensor)"/>
        public static Tensor Multiply(Tensor first, Tensor second) => Binary.Apply(BinaryFunction.Multiply, first, second);

        /// <summary>Elementwise quotient.</summary>
        /// <inheritdoc cref="Add(Tensor, Tensor)"/>
        public static Tensor Divide(Tensor first, Tensor second) => Binary.Apply(BinaryFunction.Divide, first, second);
    }
}
