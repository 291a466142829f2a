using Varlen.Autograd;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : ISwiGluKernels
{
    private static readonly KernelFamily
        SwiGluForwardRows = new("swiglu.cu", "swiglu_forward_rows", KernelOption.FloatingPoint("ELEMENT")),
        SwiGluForwardStrided = new("swiglu.cu", "swiglu_forward_strided", KernelOption.FloatingPoint("ELEMENT")),
        SwiGluBackwardRows = new("swiglu.cu", "swiglu_backward_rows", KernelOption.FloatingPoint("ELEMENT")),
        SwiGluBackwardStrided = new("swiglu.cu", "swiglu_backward_strided", KernelOption.FloatingPoint("ELEMENT"));

    public void SwiGluForward(Tensor gate, Tensor up, Tensor output)
    {
        RequireComputeType("SwiGlu", gate);
        Pointwise(SwiGluForwardRows, SwiGluForwardStrided, output.Shape, [gate, up], new GradientTarget(output, false));
    }

    public void SwiGluBackward(Tensor outputGradient, Tensor gate, Tensor up, GradientTarget gateGradient, GradientTarget upGradient)
        => Pointwise(SwiGluBackwardRows, SwiGluBackwardStrided, gate.Shape, [outputGradient, gate, up], gateGradient, upGradient);
}
