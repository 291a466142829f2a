using Varlen.Autograd;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : IBinaryKernels
{
    private const int AddScaledFunction = (int)BinaryFunction.Divide + 1;

    private static readonly KernelFamily
        BinaryForwardRows = new("binary.cu", "binary_forward_rows", KernelOption.FloatingPoint("ELEMENT")),
        BinaryForwardStrided = new("binary.cu", "binary_forward_strided", KernelOption.FloatingPoint("ELEMENT")),
        BinaryBackwardRows = new("binary.cu", "binary_backward_rows", KernelOption.FloatingPoint("ELEMENT")),
        BinaryBackwardStrided = new("binary.cu", "binary_backward_strided", KernelOption.FloatingPoint("ELEMENT"));

    public void Binary(BinaryFunction function, Tensor first, Tensor second, Tensor output)
    {
        RequireComputeType(function.ToString(), first);
        Pointwise(BinaryForwardRows, BinaryForwardStrided, output.Shape, [first, second], new GradientTarget(output, false), function: (int)function);
    }

    public void BinaryBackward(BinaryFunction function, Tensor outputGradient, Tensor first, Tensor second, GradientTarget firstGradient, GradientTarget secondGradient)
    {
        // What no wanted gradient needs is not read.
        bool isProduct = function == BinaryFunction.Multiply, isQuotient = function == BinaryFunction.Divide;
        Tensor? readFirst = (isProduct || isQuotient) && secondGradient.IsWanted ? first : null;
        Tensor? readSecond = isQuotient || (isProduct && firstGradient.IsWanted) ? second : null;
        Pointwise(BinaryBackwardRows, BinaryBackwardStrided, outputGradient.Shape, [outputGradient, readFirst, readSecond], firstGradient, secondGradient, (int)function);
    }

    public void AddScaled(Tensor destination, Tensor source, double scale)
    {
        RequireComputeType("AddInPlace", destination);
        Pointwise(BinaryForwardRows, BinaryForwardStrided, destination.Shape, [destination, source], new GradientTarget(destination, false), function: AddScaledFunction, constant: scale);
    }
}
