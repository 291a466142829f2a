using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Ops
{
    /// <summary>How a rotary embedding turns: the same for forward and, the other way round, backward.</summary>
    internal readonly record struct Rotation(RotaryFrequencies Frequencies, bool Interleaved, bool Inverse)
    {
        /// <summary>Features that are turned.</summary>
        public int Dimensions => 2 * Frequencies.Values.Length;
    }

    internal interface IRotaryKernels
    {
        /// <summary>output (+)= input with its pairs turned by position * frequency. The last dimension of both has stride 1; one may be the memory of the other.</summary>
        void Rotate(Tensor input, Tensor positions, Rotation rotation, GradientTarget output);
    }
}

namespace Varlen.Nn
{
    public static partial class Functional
    {
        /// <summary>
        /// Rotary position embedding: turns pair i of each head by <c>position * theta^(-2i / rotaryDim)</c>. (Su et al., 2021.) Angles are
        /// computed in double precision.
        /// </summary>
        /// <param name="input">Queries or keys, <c>[tokens, heads, dim]</c>, any floating-point type; may be a slice of a fused projection.</param>
        /// <param name="positions">Position of each token in its document, Int32, <c>[tokens]</c>.</param>
        /// <param name="theta">Base of the frequencies.</param>
        /// <param name="rotaryDim">How many leading features of a head are turned; the rest is copied. All when null. Even.</param>
        /// <param name="interleaved">Whether a pair is features (2i, 2i + 1), as in Llama's own code and GPT-J, or (i, i + rotaryDim / 2), as in GPT-NeoX and Hugging Face.</param>
        /// <returns>A dense tensor like <paramref name="input"/>. Its gradient is turned back.</returns>
        /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
        /// <exception cref="ArgumentOutOfRangeException"><paramref name="theta"/> is not positive and finite.</exception>
        public static Tensor Rotary(Tensor input, Tensor positions, double theta = 10000, int? rotaryDim = null, bool interleaved = false)
        {
            int dim = Op.RequireRows(nameof(Rotary), input), dimensions = rotaryDim ?? dim;
            Op.Check(dimensions >= 0 && dimensions <= dim && dimensions % 2 == 0, nameof(Rotary), nameof(rotaryDim), $"{dimensions} is not an even number from 0 to {dim}, the features of a head");
            return Rotary(input, positions, RotaryFrequencies.FromBase(theta, dimensions / 2), interleaved);
        }

        /// <summary>Rotary position embedding with given frequencies: turns pair i of each head by <c>position * frequencies[i]</c>.</summary>
        /// <param name="input">Queries or keys, <c>[tokens, heads, dim]</c>, any floating-point type; may be a slice of a fused projection.</param>
        /// <param name="positions">Position of each token in its document, Int32, <c>[tokens]</c>.</param>
        /// <param name="frequencies">Of the pairs; features beyond them are copied.</param>
        /// <param name="interleaved">Whether a pair is features (2i, 2i + 1), or (i, i + pairs).</param>
        /// <returns>A dense tensor like <paramref name="input"/>. Its gradient is turned back.</returns>
        /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
        public static Tensor Rotary(Tensor input, Tensor positions, RotaryFrequencies frequencies, bool interleaved = false)
        {
            const string op = nameof(Rotary);
            int dim = Op.RequireRows(op, input);
            ArgumentNullException.ThrowIfNull(positions);
            ArgumentNullException.ThrowIfNull(frequencies);
            Op.Check(input.Shape.Rank == 3, op, nameof(input), $"shape {input.Shape} is not [tokens, heads, dim]; use View");
            Op.Check(positions.DType == DType.Int32, op, nameof(positions), $"element type {positions.DType}; expected Int32");
            Op.Check(positions.Shape.Rank == 1 && positions.Shape[0] == input.Shape[0], op, nameof(positions), $"shape {positions.Shape} does not fit input {input.Shape}; expected [{input.Shape[0]}]");
            Op.Check(2 * frequencies.Values.Length <= dim, op, nameof(frequencies), $"{frequencies.Values.Length} pairs are more than a head of {dim} features has");
            var kernels = Op.Require<IRotaryKernels>(op, input, positions);
            if (input.Strides[2] != 1) input = input.Contiguous();
            positions = positions.Contiguous();
            Tensor output = Op.Like(input);
            var rotation = new Rotation(frequencies, interleaved, Inverse: false);
            kernels.Rotate(input, positions, rotation, new GradientTarget(output, false));
            return Op.Record(op, output, [input], [positions], pass =>
                kernels.Rotate(pass.OutputGradient()!, pass.Saved(0), rotation with { Inverse = true }, pass.InputGradientOver(0, 0)));
        }
    }
}
