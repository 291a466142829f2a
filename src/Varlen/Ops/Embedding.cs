using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Ops
{
    internal interface IEmbeddingKernels
    {
        /// <summary>output[i] = weight[ids[i]], plus positionWeight[positions[i]] when given. Dense; the indices are in range.</summary>
        void EmbeddingForward(Tensor weight, Tensor ids, Tensor? positionWeight, Tensor? positions, Tensor output);

        /// <summary>Sums the rows of each id in the order of tokens. Rows of ids that do not occur, and of the padding index, get zero.</summary>
        void EmbeddingBackward(Tensor outputGradient, Tensor ids, int? paddingIndex, GradientTarget weightGradient);
    }

    internal static unsafe class Embeddings
    {
        public static Tensor Apply(string op, Tensor weight, Tensor ids, int? paddingIndex, Tensor? positionWeight, Tensor? positions, string idsName)
        {
            CheckTable(op, weight, nameof(weight));
            CheckIndices(op, ids, weight, idsName);
            if (positionWeight is not null)
            {
                CheckTable(op, positionWeight, nameof(positionWeight));
                Op.SameType(op, weight, positionWeight, nameof(positionWeight));
                Op.Check(positionWeight.Shape[1] == weight.Shape[1], op, nameof(positionWeight), $"shape {positionWeight.Shape} does not fit the token weight {weight.Shape}; expected [positions, {weight.Shape[1]}]");
                Op.Check(positions!.Shape == ids.Shape, op, nameof(positions), $"shape {positions.Shape} does not fit ids {ids.Shape}; they must be equal");
                CheckIndices(op, positions, positionWeight, nameof(positions));
            }
            var kernels = Op.Require<IEmbeddingKernels>(op, weight, ids, positionWeight, positions);
            (weight, ids, positionWeight, positions) = (weight.Contiguous(), ids.Contiguous(), positionWeight?.Contiguous(), positions?.Contiguous());
            Tensor output = Tensor.Allocate([.. ids.Shape.Dimensions, weight.Shape[1]], weight.DType, weight.Device);
            kernels.EmbeddingForward(weight, ids, positionWeight, positions, output);
            return Op.Record(op, output, [weight, positionWeight], [ids, positions], pass =>
            {
                Tensor gradient = pass.OutputGradient()!;
                if (pass.Needs(0)) kernels.EmbeddingBackward(gradient, pass.Saved(0), paddingIndex, pass.InputGradient(0));
                if (pass.Needs(1)) kernels.EmbeddingBackward(gradient, pass.Saved(1), null, pass.InputGradient(1));
            });
        }

        private static void CheckTable(string op, Tensor weight, string parameter)
        {
            ArgumentNullException.ThrowIfNull(weight, parameter);
            Op.Check(weight.Shape.Rank == 2, op, parameter, $"shape {weight.Shape} is no table; expected [rows, features]");
            Op.Check(weight.DType.IsFloatingPoint(), op, parameter, $"{weight.DType} is not a floating-point type");
        }

        private static void CheckIndices(string op, Tensor ids, Tensor weight, string parameter)
        {
            ArgumentNullException.ThrowIfNull(ids, parameter);
            Op.Check(ids.DType is DType.Int32 or DType.Int64, op, parameter, $"{ids.DType} is no index type; pass Int32 or Int64");
            // On another device the batch was checked before it was sent there: reading it back would be a wait in every step.
            if (ids.Device != Device.Cpu) return;
            using Tensor dense = ids.IsContiguous ? ids.UntrackedAlias() : ids.UntrackedCopy(ids.DType, ids.Device);
            int count = checked((int)dense.Count), most = weight.Shape[0] - 1;
            ReadOnlySpan<int> narrow = dense.DType == DType.Int32 ? new(dense.Data<int>(), count) : default;
            ReadOnlySpan<long> wide = dense.DType == DType.Int64 ? new(dense.Data<long>(), count) : default;
            int at = Math.Max(narrow.IndexOfAnyExceptInRange(0, most), wide.IndexOfAnyExceptInRange(0, most));
            if (at >= 0)
                throw new ArgumentOutOfRangeException(parameter, narrow.IsEmpty ? wide[at] : narrow[at], $"{op}: element {at} of {parameter} is {(narrow.IsEmpty ? wide[at] : narrow[at])}, but the table {weight.Shape} has rows 0 to {weight.Shape[0] - 1}; the vocabulary of tokenizer and model must be the same");
        }
    }
}

namespace Varlen.Nn
{
    public static partial class Functional
    {
        /// <summary>Rows of a table: <c>output[i] = weight[ids[i]]</c>.</summary>
        /// <param name="weight">The table, <c>[rows, features]</c>, any floating-point type.</param>
        /// <param name="ids">Row numbers, Int32 or Int64, any shape.</param>
        /// <param name="paddingIndex">A row that takes no gradient; none when null. Its values are what the table holds.</param>
        /// <returns><c>[..., features]</c>. The gradient sums the rows of each id in the order of <paramref name="ids"/>, on any number of threads.</returns>
        /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
        /// <exception cref="ArgumentOutOfRangeException">An id is outside of the table, or the padding index is.</exception>
        public static Tensor Embedding(Tensor weight, Tensor ids, int? paddingIndex = null)
        {
            ArgumentNullException.ThrowIfNull(weight);
            if (paddingIndex is { } row && weight.Shape.Rank == 2 && (uint)row >= (uint)weight.Shape[0])
                throw new ArgumentOutOfRangeException(nameof(paddingIndex), row, $"Embedding: the table {weight.Shape} has rows 0 to {weight.Shape[0] - 1}");
            return Embeddings.Apply(nameof(Embedding), weight, ids, paddingIndex, null, null, nameof(ids));
        }

        /// <summary>Token embedding plus learned position embedding, in one pass: <c>tokenWeight[ids] + positionWeight[positions]</c>.</summary>
        /// <param name="tokenWeight">Table of tokens, <c>[vocabulary, features]</c>.</param>
        /// <param name="ids">Token ids, Int32 or Int64, any shape.</param>
        /// <param name="positionWeight">Table of positions, <c>[positions, features]</c>, of the same type.</param>
        /// <param name="positions">Position of each token in its document, Int32 or Int64, of the shape of <paramref name="ids"/>.</param>
        /// <returns><c>[..., features]</c>.</returns>
        /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
        /// <exception cref="ArgumentOutOfRangeException">An id or a position is outside of its table.</exception>
        public static Tensor EmbeddingSum(Tensor tokenWeight, Tensor ids, Tensor positionWeight, Tensor positions)
        {
            ArgumentNullException.ThrowIfNull(positionWeight);
            ArgumentNullException.ThrowIfNull(positions);
            return Embeddings.Apply(nameof(EmbeddingSum), tokenWeight, ids, null, positionWeight, positions, nameof(ids));
        }
    }
}
