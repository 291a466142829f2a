using System.Runtime.InteropServices;
using Varlen.Autograd;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : ISoftmaxKernels
{
    private static readonly KernelFamily
        SoftmaxForwardKernel = new("softmax.cu", "softmax_forward", KernelOption.FloatingPoint("ELEMENT")),
        SoftmaxBackwardKernel = new("softmax.cu", "softmax_backward", KernelOption.FloatingPoint("ELEMENT"));

    public void SoftmaxForward(Tensor input, Tensor output, bool logarithm)
    {
        RequireComputeType("Softmax", input);
        LaunchSoftmax(SoftmaxForwardKernel, null, input, logarithm, new GradientTarget(output, false));
    }

    public void SoftmaxBackward(Tensor outputGradient, Tensor output, bool logarithm, GradientTarget inputGradient)
        => LaunchSoftmax(SoftmaxBackwardKernel, outputGradient, output, logarithm, inputGradient);

    private void LaunchSoftmax(KernelFamily kernel, Tensor? outputGradient, Tensor values, bool logarithm, GradientTarget output)
    {
        if (!output.IsWanted || values.Count == 0) return;
        int features = values.Shape[-1], elements = 16 / values.DType.Size(), rowThreads = features <= 128 * elements ? 32 : 256;
        long rows = values.Count / features;
        Tensor target = output.Tensor!;
        var arguments = new SoftmaxArguments
        {
            OutputGradient = outputGradient?.Pointer ?? 0, Values = values.Pointer, Output = TargetArgument.From(output), Rows = rows, Features = features, Logarithm = logarithm ? 1 : 0, RowThreads = rowThreads,
            IsVector = features % elements == 0 && IsAligned(values.Pointer) && IsAligned(target.Pointer) && IsAligned(outputGradient?.Pointer ?? 0)
                && (target.DType == values.DType || target.DType == DType.Float32) ? 1 : 0,
        };
        Launch(kernel.With(values.DType), (rows * rowThreads + 255) / 256, 256, in arguments);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct SoftmaxArguments
    {
        public nint OutputGradient, Values;
        public TargetArgument Output;
        public long Rows;
        public int Features, Logarithm, RowThreads, IsVector;
    }
}
