using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Ops
{
    internal interface ICrossEntropyKernels
    {
        /// <summary>
        /// loss = scale * sum of the counted rows' -log softmax(logits)[target]. Of each counted row, its largest logit and the reciprocal of
        /// its sum of exponentials are kept: statistics [tokens, 2].
        /// </summary>
        void CrossEntropyForward(Tensor logits, Tensor targets, long ignoreIndex, double scale, Tensor statistics, Tensor loss);

        /// <summary>logitsGradient (+)= lossGradient * scale * (softmax - onehot); zero for ignored rows.</summary>
        void CrossEntropyBackward(
            Tensor lossGradient, Tensor logits, Tensor targets, long ignoreIndex, double scale, Tensor statistics, GradientTarget logitsGradient);
    }
}

namespace Varlen.Nn
{
    /// <summary>How losses of many targets become one number.</summary>
    public enum Reduction
    {
        /// <summary>The mean over the targets that count; 0 when there are none.</summary>
        Mean,
        /// <summary>The sum over the targets that count.</summary>
        Sum,
    }

    public static partial class Functional
    {
        /// <summary>
        /// Cross entropy of the softmax of each row against its target class: <c>-log softmax(logits)[target]</c>. A probability below 1e-30 of
        /// the largest (1e-300 for Float64) has no gradient.
        /// </summary>
        /// <param name="logits">Unnormalised scores, <c>[..., classes]</c>, any floating-point type. Computed in single precision (double for Float64).</param>
        /// <param name="targets">Class numbers, <c>[...]</c>, Int32 or Int64.</param>
        /// <param name="ignoreIndex">Targets of this value count neither in the sum nor in the mean, and have no gradient.</param>
        /// <param name="reduction">Mean or sum. A mean waits for the targets' device, to count them. The mean of no targets is 0 (in PyTorch it is NaN), so that an empty batch harms nothing.</param>
        /// <returns>A scalar, Float32, or Float64 for Float64 logits.</returns>
        /// <exception cref="ArgumentException">Shapes, types or devices do not fit, or a target is not a class.</exception>
        public static Tensor CrossEntropy(Tensor logits, Tensor targets, long ignoreIndex = -100, Reduction reduction = Reduction.Mean)
            => CrossEntropyOf(nameof(CrossEntropy), logits, targets, ignoreIndex, reduction, counts: reduction == Reduction.Mean).Loss;

        /// <summary>The summed cross entropy, and over how many targets: what adds up over micro-batches and ranks to be divided once.</summary>
        /// <returns>
        /// The sum, a scalar as of <see cref="CrossEntropy"/>, and the exact number of targets in it. Counting waits for the targets' device;
        /// <see cref="LinearCrossEntropy"/> does not, nor does <see cref="CrossEntropy"/> with <see cref="Reduction.Sum"/>.
        /// </returns>
        /// <inheritdoc cref="CrossEntropy"/>
        public static (Tensor Sum, long Count) CrossEntropySum(Tensor logits, Tensor targets, long ignoreIndex = -100)
            => CrossEntropyOf(nameof(CrossEntropySum), logits, targets, ignoreIndex, Reduction.Sum, counts: true);

        private static (Tensor Loss, long Count) CrossEntropyOf(string op, Tensor logits, Tensor targets, long ignoreIndex, Reduction reduction, bool counts)
        {
            int classes = Op.RequireRows(op, logits, nameof(logits));
            var kernels = Op.Require<ICrossEntropyKernels>(op, logits, targets);
            targets = targets.Contiguous();
            long count = 0;
            if (counts) count = Targets.Count(op, logits, nameof(logits), targets, classes, ignoreIndex);
            else Targets.Check(op, logits, nameof(logits), targets, classes, ignoreIndex);
            double scale = reduction == Reduction.Sum ? 1 : count == 0 ? 0 : 1.0 / count;
            logits = logits.Contiguous();
            DType accumulator = Op.Accumulator(logits.DType);
            Tensor loss = Tensor.Allocate([], accumulator, logits.Device), statistics = Tensor.Allocate([checked((int)targets.Count), 2], accumulator, logits.Device);
            kernels.CrossEntropyForward(logits, targets, ignoreIndex, scale, statistics, loss);
            Op.Record(op, loss, [logits], [logits, targets, statistics], pass =>
            {
                if (pass.InputGradient(0) is { IsWanted: true } gradient)
                    kernels.CrossEntropyBackward(pass.OutputGradient()!, pass.Saved(0), pass.Saved(1), ignoreIndex, scale, pass.Saved(2), gradient);
            });
            return (loss, count);
        }
    }
}
