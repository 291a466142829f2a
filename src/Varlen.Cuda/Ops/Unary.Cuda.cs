using Varlen.Autograd;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : IUnaryKernels
{
    private static readonly KernelFamily
        UnaryForwardRows = new("unary.cu", "unary_forward_rows", KernelOption.FloatingPoint("ELEMENT")),
        UnaryForwardStrided = new("unary.cu", "unary_forward_strided", KernelOption.FloatingPoint("ELEMENT")),
        UnaryBackwardRows = new("unary.cu", "unary_backward_rows", KernelOption.FloatingPoint("ELEMENT")),
        UnaryBackwardStrided = new("unary.cu", "unary_backward_strided", KernelOption.FloatingPoint("ELEMENT"));

    public void Unary(UnaryFunction function, double constant, Tensor input, Tensor output)
    {
        RequireComputeType(function.ToString(), input);
        Pointwise(UnaryForwardRows, UnaryForwardStrided, output.Shape, [input], new GradientTarget(output, false), function: (int)function, constant: constant);
    }

    public void UnaryBackward(UnaryFunction function, double constant, Tensor outputGradient, Tensor saved, GradientTarget inputGradient)
    {
        bool isLinear = function is UnaryFunction.AddConstant or UnaryFunction.SubtractFrom or UnaryFunction.Scale or UnaryFunction.DivideBy;
        Pointwise(UnaryBackwardRows, UnaryBackwardStrided, outputGradient.Shape, [outputGradient, isLinear ? null : saved], inputGradient, function: (int)function, constant: constant);
    }
}
