using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Ops
{
    internal interface ILinearCrossEntropyKernels
    {
        /// <summary>
        /// loss = summed cross entropy of input weight^T + bias. When <paramref name="logitsGradient"/> [tokens, classes] is given it receives
        /// softmax - onehot of each counted row and zero elsewhere; else no more than a block of rows of logits exists at a time.
        /// </summary>
        void LinearCrossEntropyForward(Tensor input, Tensor weight, Tensor? bias, Tensor targets, long ignoreIndex, Tensor? logitsGradient, Tensor loss);

        /// <summary>The linear map's gradients from those of the logits, times the loss's. What a wanted target does not need may be null.</summary>
        void LinearCrossEntropyBackward(
            Tensor lossGradient, Tensor logitsGradient, Tensor? input, Tensor? weight, GradientTarget inputGradient, GradientTarget weightGradient, GradientTarget biasGradient);
    }
}

namespace Varlen.Nn
{
    public static partial class Functional
    {
        /// <summary>
        /// The output layer of a classifier and its summed cross entropy as one op: the logits are computed once, overwritten by their gradient
        /// when a backward pass is to come, and never all at once otherwise.
        /// </summary>
        /// <param name="input">Activations, <c>[tokens, in]</c>, any floating-point type. Logits are single precision (double for Float64), on a GPU rounded to this type as their gradient is.</param>
        /// <param name="weight">Weight of the output layer, <c>[classes, in]</c>, of the input's type.</param>
        /// <param name="bias">Its bias, <c>[classes]</c>; none when null.</param>
        /// <param name="targets">Class numbers, <c>[tokens]</c>, Int32 or Int64.</param>
        /// <param name="ignoreIndex">Targets of this value do not count and have no gradient.</param>
        /// <returns>
        /// The sum over all counted targets, a scalar, Float32, or Float64 for Float64 input. Divide by their count through the gradient that
        /// Backward takes (<see cref="Optim.StepState.LossGradient"/>).
        /// </returns>
        /// <exception cref="ArgumentException">Shapes, types or devices do not fit, or a target is not a class.</exception>
        public static Tensor LinearCrossEntropy(Tensor input, Tensor weight, Tensor? bias, Tensor targets, long ignoreIndex = -100)
        {
            const string op = nameof(LinearCrossEntropy);
            int features = Op.RequireRows(op, input), classes = LinearArguments.Check(op, input, features, weight, bias, outIn: true);
            var kernels = Op.Require<ILinearCrossEntropyKernels>(op, input, weight, bias, targets);
            targets = targets.Contiguous();
            Targets.Check(op, input, nameof(input), targets, classes, ignoreIndex);
            input = Matrix.Fitting(input);
            weight = Matrix.Fitting(weight);
            Tensor loss = Tensor.Allocate([], Op.Accumulator(input.DType), input.Device);
            Tensor? logitsGradient = Op.Records(input, weight, bias) ? Tensor.Allocate([checked((int)targets.Count), classes], input.DType, input.Device) : null;
            kernels.LinearCrossEntropyForward(input, weight, bias, targets, ignoreIndex, logitsGradient, loss);
            (bool needsInput, bool needsWeight) = (weight.RequiresGrad, input.RequiresGrad);
            return Op.Record(op, loss, [input, weight, bias], [logitsGradient, needsInput ? input : null, needsWeight ? weight : null], pass =>
                kernels.LinearCrossEntropyBackward(
                    pass.OutputGradient()!, pass.Saved(0), needsInput ? pass.Saved(1) : null, needsWeight ? pass.Saved(2) : null,
                    pass.InputGradient(0), pass.InputGradient(1), pass.InputGradient(2)));
        }
    }
}
