using System.Runtime.InteropServices;
using Varlen.Autograd;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : ILinearCrossEntropyKernels
{
    // Without a gradient, logits exist for as many rows as make a matrix product of full speed.
    private const long LogitsBytes = 256 << 20, LeastLogitsRows = 512;

    private static readonly KernelFamily NarrowScalarKernel = new("cross_entropy.cu", "narrow_scalar", KernelOption.FloatingPoint("ELEMENT"));

    public void LinearCrossEntropyForward(Tensor input, Tensor weight, Tensor? bias, Tensor targets, long ignoreIndex, Tensor? logitsGradient, Tensor loss)
    {
        RequireComputeType("LinearCrossEntropy", input);
        using Tensor losses = Tensor.AllocateUntracked(targets.Shape, DType.Float64, Device);
        Matrix rows = Matrix.From(input), map = Matrix.From(weight).Transposed;
        long classes = map.Columns, count = targets.Count, block = Math.Max(LeastLogitsRows, LogitsBytes / Math.Max(1, classes * input.DType.Size()));
        block = logitsGradient is not null ? count : Math.Min(count, block);
        using Tensor? scratch = logitsGradient is null ? Tensor.AllocateUntracked([checked((int)block), (int)classes], input.DType, Device) : null;
        Tensor logits = logitsGradient ?? scratch!;
        for (long first = 0; first < count; first += block)
        {
            long here = Math.Min(block, count - first);
            Multiply(rows.RowRange(first, here), map, new Matrix(logits.Pointer, logits.DType, here, classes, Math.Max(1, classes)), false, bias, 1, 1);
            CrossEntropyRows(
                logits, targets.Pointer + (nint)(first * targets.DType.Size()), here, targets.DType, ignoreIndex, losses.Pointer + (nint)(first * sizeof(double)), 0, logitsGradient?.Pointer ?? 0);
        }
        SumLosses(losses, input.DType, 1, loss);
    }

    public void LinearCrossEntropyBackward(
        Tensor lossGradient, Tensor logitsGradient, Tensor? input, Tensor? weight, GradientTarget inputGradient, GradientTarget weightGradient, GradientTarget biasGradient)
    {
        // The loss's gradient stays on the device, where the products read it: no wait, and no pass over the logits to scale them.
        using Tensor? narrowed = lossGradient.DType == DType.Float64 ? Tensor.AllocateUntracked([], DType.Float32, Device) : null;
        nint factor = (narrowed ?? lossGradient).Pointer;
        if (narrowed is not null)
        {
            var arguments = new NarrowArguments { From = lossGradient.Pointer, To = narrowed.Pointer };
            Launch(NarrowScalarKernel.With(logitsGradient.DType), 1, 32, in arguments);
        }
        Matrix logits = Matrix.From(logitsGradient);
        if (biasGradient.IsWanted) ColumnSums(logitsGradient, biasGradient, 1, factor);
        if (weightGradient.Tensor is { } dw) MultiplyScaled(logits.Transposed, Matrix.From(input!), Matrix.From(dw), weightGradient.Accumulate, factor);
        if (inputGradient.Tensor is { } dx) MultiplyScaled(logits, Matrix.From(weight!), Matrix.From(dx), inputGradient.Accumulate, factor);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct NarrowArguments
    {
        public nint From, To;
    }
}
