using System.Runtime.InteropServices;
using Varlen.Autograd;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : ICrossEntropyKernels
{
    // Beside the row, the kernel's own shared memory.
    private const int CrossEntropyScratch = 1024;

    private static readonly KernelFamily
        CrossEntropyRowsKernel = new("cross_entropy.cu", "cross_entropy_rows", KernelOption.FloatingPoint("ELEMENT")), CrossEntropyBackwardKernel = new("cross_entropy.cu", "cross_entropy_backward", KernelOption.FloatingPoint("ELEMENT")),
        SumLossesKernel = new("cross_entropy.cu", "sum_losses", KernelOption.FloatingPoint("ELEMENT"));

    public void CrossEntropyForward(Tensor logits, Tensor targets, long ignoreIndex, double scale, Tensor statistics, Tensor loss)
    {
        RequireComputeType("CrossEntropy", logits);
        using Tensor losses = Tensor.AllocateUntracked(targets.Shape, DType.Float64, Device);
        CrossEntropyRows(logits, targets.Pointer, targets.Count, targets.DType, ignoreIndex, losses.Pointer, statistics.Pointer, 0);
        SumLosses(losses, logits.DType, scale, loss);
    }

    public void CrossEntropyBackward(
        Tensor lossGradient, Tensor logits, Tensor targets, long ignoreIndex, double scale, Tensor statistics, GradientTarget logitsGradient)
    {
        RequireComputeType("CrossEntropy", logits);
        if (logits.Count == 0) return;
        int classes = logits.Shape[-1];
        var arguments = new CrossEntropyBackwardArguments
        {
            Logits = logits.Pointer, Targets = targets.Pointer, IgnoreIndex = ignoreIndex, Statistics = statistics.Pointer, LossGradient = lossGradient.Pointer, Scale = scale, Classes = classes,
            WideTargets = targets.DType == DType.Int64 ? 1 : 0, Aligned = HasAlignedRows(classes, VectorWidth(logits), logits, logitsGradient.Tensor) ? 1 : 0,
            LossGradientIsDouble = lossGradient.DType == DType.Float64 ? 1 : 0, Gradient = TargetArgument.From(logitsGradient),
        };
        Launch(CrossEntropyBackwardKernel.With(logits.DType), targets.Count, RowThreads(classes, VectorWidth(logits), most: 256), in arguments);
    }

    /// <summary>Losses of rows of logits, and what else is wanted of them.</summary>
    /// <param name="logits">Dense; its last dimension is the classes.</param>
    /// <param name="targets">Address of the first row's target.</param>
    /// <param name="rows">Rows.</param>
    /// <param name="targetType">Int32 or Int64.</param>
    /// <param name="ignoreIndex">Target of rows that do not count.</param>
    /// <param name="losses">Address of a double for each row.</param>
    /// <param name="statistics">Address of two floats for each row, or 0.</param>
    /// <param name="gradient">Address of softmax - onehot, which may be the logits', or 0.</param>
    private void CrossEntropyRows(Tensor logits, nint targets, long rows, DType targetType, long ignoreIndex, nint losses, nint statistics, nint gradient)
    {
        if (rows == 0) return;
        int classes = logits.Shape[-1], width = VectorWidth(logits), bytes = checked(classes * logits.DType.Size());
        // In vectors, or element by element where rows begin anywhere.
        bool isVector = classes % width == 0 && IsAligned(logits.Pointer) && IsAligned(gradient), keeps = gradient != 0 && bytes <= SharedMemoryPerBlock - CrossEntropyScratch;
        var arguments = new CrossEntropyArguments
        {
            Logits = logits.Pointer, Targets = targets, IgnoreIndex = ignoreIndex, Losses = losses, Statistics = statistics, Gradient = gradient,
            Classes = classes, WideTargets = targetType == DType.Int64 ? 1 : 0, IsVector = isVector ? 1 : 0, Keeps = keeps ? 1 : 0,
        };
        Launch(CrossEntropyRowsKernel.With(logits.DType), rows, RowThreads(classes, isVector ? width : 1, most: 512), in arguments, keeps ? bytes : 0);
    }

    private void SumLosses(Tensor losses, DType module, double scale, Tensor loss)
    {
        var arguments = new LossSumArguments { Losses = losses.Pointer, Rows = losses.Count, Scale = scale, Loss = loss.Pointer };
        Launch(SumLossesKernel.With(module), 1, 1024, in arguments);
    }

    /// <summary>Threads for a row: enough for four vectors each, in whole warps.</summary>
    private static int RowThreads(int columns, int width, int most) => Math.Clamp((columns / width + 127) / 128 * 32, 32, most);

    [StructLayout(LayoutKind.Sequential)]
    private struct CrossEntropyArguments
    {
        public nint Logits, Targets;
        public long IgnoreIndex;
        public nint Losses, Statistics, Gradient;
        public int Classes, WideTargets, IsVector, Keeps;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct CrossEntropyBackwardArguments
    {
        public nint Logits, Targets;
        public long IgnoreIndex;
        public nint Statistics, LossGradient;
        public double Scale;
        public int Classes, WideTargets, Aligned, LossGradientIsDouble;
        public TargetArgument Gradient;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct LossSumArguments
    {
        public nint Losses;
        public long Rows;
        public double Scale;
        public nint Loss;
    }
}
