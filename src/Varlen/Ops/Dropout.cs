using Varlen.Autograd;
using Varlen.Nn;
using Varlen.Ops;
using Varlen.Optim;

namespace Varlen.Ops
{
    internal interface IDropoutKernels
    {
        /// <summary>
        /// output (+)= input with elements dropped, the others scaled by 1 / (1 - probability); dense rows. Seed and step are read from the
        /// state. The output may be the memory of the input.
        /// </summary>
        /// <remarks>
        /// The document's key is the first two words of Philox at (document low, document high, step low, step's next 16 bits and layer)
        /// under the seed. Feature f at position i is dropped iff word f mod 4 at (f / 4, i, 0, 1) under that key is below
        /// probability * 2^32. The last counter word keeps these streams apart from attention's, where it is 0.
        /// </remarks>
        void Dropout(Tensor input, double probability, StepState state, int layer, DropoutKeys keys, GradientTarget output);
    }
}

namespace Varlen.Nn
{
    public static partial class Functional
    {
        /// <summary>
        /// Sets elements to zero at random and scales the others by <c>1 / (1 - probability)</c>. (Srivastava et al., 2014.) Which ones is a
        /// function of seed, step, layer, document and position alone: nothing is kept for the backward pass, which works the mask out again.
        /// </summary>
        /// <param name="input">Any floating-point type, <c>[..., features]</c>.</param>
        /// <param name="probability">Chance of an element to be dropped, from 0 up to but not including 1.</param>
        /// <param name="state">Seed and step number.</param>
        /// <param name="layer">Tells the dropouts of a model apart, 0 to 65535.</param>
        /// <param name="keys">Document and position of each row; by default one document in the order of rows.</param>
        /// <param name="training">Whether anything is dropped; the input is returned as it is otherwise, and for probability 0.</param>
        /// <returns>A tensor like <paramref name="input"/>.</returns>
        /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
        /// <exception cref="ArgumentOutOfRangeException">The probability or the layer is out of range.</exception>
        public static Tensor Dropout(Tensor input, double probability, StepState state, int layer = 0, DropoutKeys keys = default, bool training = true)
        {
            const string op = nameof(Dropout);
            int features = Op.RequireRows(op, input);
            ArgumentNullException.ThrowIfNull(state);
            if (!(probability >= 0 && probability < 1)) throw new ArgumentOutOfRangeException(nameof(probability), probability, $"{op}: the probability must be at least 0 and below 1");
            if (layer is < 0 or > 0xFFFF) throw new ArgumentOutOfRangeException(nameof(layer), layer, $"{op}: the layer must be from 0 to 65535");
            long rows = 1;
            foreach (int size in input.Shape.Dimensions[..^1]) rows *= size;
            CheckKeys(keys.Documents, DType.Int64, "Documents");
            CheckKeys(keys.Positions, DType.Int32, "Positions");
            var kernels = Op.Require<IDropoutKernels>(op, input, state.Buffer, keys.Documents, keys.Positions);
            if (!training || probability == 0) return input;
            input = input.Contiguous();
            Tensor output = Op.Like(input);
            kernels.Dropout(input, probability, state, layer, keys, new GradientTarget(output, false));
            (long step, bool hasDocuments, bool hasPositions) = (state.Step, keys.Documents is not null, keys.Positions is not null);
            return Op.Record(op, output, [input], [keys.Documents, keys.Positions], pass =>
            {
                if (state.Step != step)
                    throw new InvalidOperationException($"{op}: step {state.Step} began before the backward pass of step {step}, whose mask is a function of the step; call Backward before StepState.Begin");
                var saved = new DropoutKeys(hasDocuments ? pass.Saved(0) : null, hasPositions ? pass.Saved(1) : null);
                kernels.Dropout(pass.OutputGradient()!, probability, state, layer, saved, pass.InputGradientOver(0, 0));
            });

            void CheckKeys(Tensor? tensor, DType dtype, string name)
            {
                if (tensor is null) return;
                Op.Check(tensor.DType == dtype, op, nameof(keys), $"{name} is {tensor.DType}; expected {dtype}");
                Op.Check(tensor.Shape.Rank == 1 && tensor.Shape[0] == rows && tensor.IsContiguous, op, nameof(keys), $"{name} {tensor.Shape} does not fit input {input.Shape}; expected a dense [{rows}]");
            }
        }
    }
}
