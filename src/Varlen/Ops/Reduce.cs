using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Ops
{
    internal enum Reduction
    {
        Sum, Max,
    }

    internal interface IReductionKernels
    {
        /// <summary>
        /// output (+)= scale * reduction of the input over every dimension in which the output has size 1. Equal ranks, any strides; the
        /// output may have another floating-point type.
        /// </summary>
        void Reduce(Reduction reduction, Tensor input, Tensor output, double scale, bool accumulate);

        /// <summary>destination = scale * source, which broadcasts to it.</summary>
        void Spread(Tensor source, double scale, GradientTarget destination);

        /// <summary>mark = 1 where the input equals its maximum (NaN equals NaN), else 0.</summary>
        void MarkMaximum(Tensor input, Tensor maximum, Tensor mark);

        /// <summary>destination = value where the input equals its maximum (NaN equals NaN), else 0; maximum and value broadcast to it.</summary>
        void SelectMaximum(Tensor input, Tensor maximum, Tensor value, GradientTarget destination);
    }

    internal static class Reductions
    {
        public static Tensor Sum(string op, Tensor input, ReadOnlySpan<int> dimensions, bool keepDimensions, bool isMean)
        {
            (Shape kept, Shape result, long terms) = Shapes(op, input, dimensions, keepDimensions);
            double scale = isMean ? 1.0 / terms : 1;
            var kernels = Op.Require<IReductionKernels>(op, input);
            Tensor output = Tensor.Allocate(result, input.DType, input.Device);
            using (Tensor lined = output.UntrackedAlias(kept)) kernels.Reduce(Reduction.Sum, input, lined, scale, accumulate: false);
            return Op.Record(op, output, [input], [], pass =>
            {
                using Tensor gradient = pass.OutputGradient()!.UntrackedAlias(kept);
                kernels.Spread(gradient, scale, pass.InputGradient(0));
            });
        }

        public static Tensor Max(string op, Tensor input, ReadOnlySpan<int> dimensions, bool keepDimensions)
        {
            (Shape kept, Shape result, long terms) = Shapes(op, input, dimensions, keepDimensions);
            Op.Check(terms > 0 || kept.Count == 0, op, nameof(input), $"the maximum over no elements of {input.Shape} is undefined");
            var kernels = Op.Require<IReductionKernels>(op, input);
            Tensor output = Tensor.Allocate(result, input.DType, input.Device);
            using (Tensor lined = output.UntrackedAlias(kept)) kernels.Reduce(Reduction.Max, input, lined, 1, accumulate: false);
            return Op.Record(op, output, [input], [input, output], pass =>
            {
                Tensor x = pass.Saved(0);
                using Tensor maximum = pass.Saved(1).UntrackedAlias(kept), gradient = pass.OutputGradient()!.UntrackedAlias(kept);
                // Equal maxima share the gradient, so that the order of elements does not matter.
                Tensor mark = Op.Like(x), count = Tensor.Allocate(kept, x.DType, x.Device), share = Tensor.Allocate(kept, x.DType, x.Device);
                kernels.MarkMaximum(x, maximum, mark);
                kernels.Reduce(Reduction.Sum, mark, count, 1, accumulate: false);
                Op.Require<IBinaryKernels>(op, x).Binary(BinaryFunction.Divide, gradient, count, share);
                kernels.SelectMaximum(x, maximum, share, pass.InputGradient(0));
            });
        }

        /// <summary>The result's shape with reduced dimensions of size 1, as asked for, and how many elements go into one result.</summary>
        private static (Shape Kept, Shape Result, long Terms) Shapes(string op, Tensor input, ReadOnlySpan<int> dimensions, bool keepDimensions)
        {
            ArgumentNullException.ThrowIfNull(input);
            Op.Check(input.DType.IsFloatingPoint(), op, nameof(input), $"{input.DType} is not a floating-point type; convert with To(dtype:)");
            int[] kept = input.Shape.Dimensions.ToArray();
            var isReduced = new bool[kept.Length];
            if (dimensions.IsEmpty) isReduced.AsSpan().Fill(true);
            foreach (int dimension in dimensions)
            {
                int axis = input.Shape.Axis(dimension);
                Op.Check(!isReduced[axis], op, nameof(dimensions), $"dimension {dimension} of {input.Shape} is named twice");
                isReduced[axis] = true;
            }
            long terms = 1;
            for (int i = 0; i < kept.Length; i++)
            {
                if (!isReduced[i]) continue;
                terms *= kept[i];
                kept[i] = 1;
            }
            return (new Shape(kept), keepDimensions ? new Shape(kept) : new Shape([.. kept.Where((_, i) => !isReduced[i])]), terms);
        }
    }
}

namespace Varlen.Nn
{
    public static partial class Functional
    {
        /// <summary>
        /// Sum over dimensions. It is computed in the type of arithmetic in chunks of a fixed length, whose sums are added in double
        /// precision: accurate for any length, and the same on any number of threads. The sum of nothing is 0.
        /// </summary>
        /// <param name="input">Any floating-point type and shape.</param>
        /// <param name="dimensions">The dimensions; negative numbers count from the end. All when empty.</param>
        /// <param name="keepDimensions">Whether reduced dimensions stay, with size 1.</param>
        /// <returns>A tensor of the input's type.</returns>
        /// <exception cref="ArgumentException">The type is not floating-point, or a dimension is named twice.</exception>
        /// <exception cref="ArgumentOutOfRangeException">There is no such dimension.</exception>
        public static Tensor Sum(Tensor input, ReadOnlySpan<int> dimensions = default, bool keepDimensions = false)
            => Reductions.Sum(nameof(Sum), input, dimensions, keepDimensions, isMean: false);

        /// <summary>Mean over dimensions, computed as <see cref="Sum"/> is. The mean of nothing is NaN.</summary>
        /// <inheritdoc cref="Sum"/>
        public static Tensor Mean(Tensor input, ReadOnlySpan<int> dimensions = default, bool keepDimensions = false)
            => Reductions.Sum(nameof(Mean), input, dimensions, keepDimensions, isMean: true);

        /// <summary>Largest element over dimensions; NaN if there is one. Equal maxima share the gradient in equal parts.</summary>
        /// <inheritdoc cref="Sum"/>
        public static Tensor Max(Tensor input, ReadOnlySpan<int> dimensions = default, bool keepDimensions = false)
            => Reductions.Max(nameof(Max), input, dimensions, keepDimensions);
    }
}
