using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Ops
{
    internal interface ISwiGluKernels
    {
        /// <summary>output = silu(gate) * up; any strides of the inputs.</summary>
        void SwiGluForward(Tensor gate, Tensor up, Tensor output);

        void SwiGluBackward(Tensor outputGradient, Tensor gate, Tensor up, GradientTarget gateGradient, GradientTarget upGradient);
    }
}

namespace Varlen.Nn
{
    public static partial class Functional
    {
        /// <summary>
        /// Gated unit of Llama's feed-forward layer, in one pass: <c>silu(gate) * up</c>. (Shazeer, 2020.) Both may be halves of one
        /// projection (<see cref="Tensor.Chunk"/>): they are read in place, and their gradients are written into its gradient.
        /// </summary>
        /// <remarks>An op that needs the result in its backward pass rebuilds it from the inputs instead of keeping it.</remarks>
        /// <param name="gate">Any floating-point type and shape.</param>
        /// <param name="up">Of the same type and shape.</param>
        /// <returns>A dense tensor of that shape.</returns>
        /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
        public static Tensor SwiGlu(Tensor gate, Tensor up)
        {
            const string op = nameof(SwiGlu);
            ArgumentNullException.ThrowIfNull(gate);
            ArgumentNullException.ThrowIfNull(up);
            Op.Check(gate.DType.IsFloatingPoint(), op, nameof(gate), $"{gate.DType} is not a floating-point type; convert with To(dtype:)");
            Op.SameType(op, gate, up, nameof(up));
            Op.Check(gate.Shape == up.Shape, op, nameof(up), $"shape {up.Shape} does not fit gate {gate.Shape}; they must be equal");
            var kernels = Op.Require<ISwiGluKernels>(op, gate, up);
            Tensor output = Op.Like(gate);
            kernels.SwiGluForward(gate, up, output);
            if (!Op.Records(gate, up)) return output;
            output.Recipe = Recipe.From(sources => SwiGlu(sources[0], sources[1]), gate, up);
            return Op.Record(op, output, [gate, up], [gate, up], pass =>
                kernels.SwiGluBackward(pass.OutputGradient()!, pass.Saved(0), pass.Saved(1), pass.InputGradientOver(0, 0), pass.InputGradientOver(1, 0)));
        }
    }
}
