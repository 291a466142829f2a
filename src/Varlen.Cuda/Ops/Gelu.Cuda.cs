using System.Numerics;
using System.Runtime.InteropServices;
using Varlen.Autograd;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Nn;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : IGeluKernels
{
    private static readonly KernelFamily
        GeluForwardRows = new("gelu.cu", "gelu_forward_rows", KernelOption.FloatingPoint("ELEMENT")),
        GeluForwardStrided = new("gelu.cu", "gelu_forward_strided", KernelOption.FloatingPoint("ELEMENT")),
        GeluBackwardRows = new("gelu.cu", "gelu_backward_rows", KernelOption.FloatingPoint("ELEMENT")),
        GeluBackwardStrided = new("gelu.cu", "gelu_backward_strided", KernelOption.FloatingPoint("ELEMENT")),
        GeluBackwardBiasKernel = new("gelu.cu", "gelu_backward_bias", KernelOption.FloatingPoint("ELEMENT"));

    public void GeluForward(Tensor input, Tensor? bias, GeluForm form, Tensor output)
    {
        RequireComputeType("Gelu", input);
        Pointwise(GeluForwardRows, GeluForwardStrided, output.Shape, [input, bias], new GradientTarget(output, false), function: (int)form);
    }

    public void GeluBackward(Tensor outputGradient, Tensor input, Tensor? bias, GeluForm form, GradientTarget inputGradient, GradientTarget biasGradient)
    {
        if (biasGradient.IsWanted) GeluBackwardBias(outputGradient, input, bias!, form, inputGradient, biasGradient);
        else Pointwise(GeluBackwardRows, GeluBackwardStrided, outputGradient.Shape, [outputGradient, input, bias], inputGradient, function: (int)form);
    }

    private void GeluBackwardBias(Tensor outputGradient, Tensor input, Tensor bias, GeluForm form, GradientTarget inputGradient, GradientTarget biasGradient)
    {
        int features = bias.Shape[0];
        if (features == 0) return;
        if (input.Count == 0)
        {
            if (!biasGradient.Accumulate) Fill(biasGradient.Tensor!, 0);
            return;
        }
        if (!HasRows(input, out long inputStride))
        {
            input = input.Contiguous();
            inputStride = features;
        }
        // A gradient without rows goes through memory that has them.
        Tensor? target = inputGradient.Tensor, written = target;
        long targetStride = features;
        if (target is not null && !HasRows(target, out targetStride))
        {
            written = Tensor.Allocate(target.Shape, target.DType, target.Device);
            targetStride = features;
        }
        bool isDirect = ReferenceEquals(target, written);
        int elements = 16 / input.DType.Size(), vectors = (features + elements - 1) / elements;
        // Threads side by side for a kilobyte of a row, so that the partial sums are few; the others of a block take other rows.
        int rowThreads = Math.Min(64, (int)BitOperations.RoundUpToPowerOf2((uint)vectors));
        int columnBlocks = (vectors + rowThreads - 1) / rowThreads;
        long rows = input.Count / features;
        long chunks = Math.Clamp(rows * rowThreads / (256 * 4), 1, Math.Max(1, 8 * MultiprocessorCount / columnBlocks)), chunkRows = (rows + chunks - 1) / chunks;
        chunks = (rows + chunkRows - 1) / chunkRows;
        using Tensor partials = Tensor.AllocateUntracked([checked((int)chunks), features], DType.Float32, Device);
        var arguments = new GeluBiasArguments
        {
            OutputGradient = outputGradient.Pointer, Input = input.Pointer, Bias = bias.Pointer, Partials = partials.Pointer,
            InputGradient = TargetArgument.From(new GradientTarget(written, isDirect && inputGradient.Accumulate)),
            Rows = rows, ChunkRows = chunkRows, OutputGradientStride = features, InputStride = inputStride, InputGradientStride = targetStride,
            Features = features, Form = (int)form, RowThreads = rowThreads, ColumnBlocks = columnBlocks,
            IsVector = FitsVectors(outputGradient, features, elements) && FitsVectors(input, inputStride, elements) && FitsVectors(bias, elements, elements)
                && (written is null || ((written.DType == input.DType || written.DType == DType.Float32) && FitsVectors(written, targetStride, elements))) ? 1 : 0,
        };
        Launch(GeluBackwardBiasKernel.With(input.DType), chunks * columnBlocks, 256, in arguments);
        AddPartials(partials.Pointer, (int)chunks, features, biasGradient);
        if (!isDirect) Copy(written!, target!, inputGradient.Accumulate);

        static bool FitsVectors(Tensor tensor, long stride, int elements) => IsAligned(tensor.Pointer) && stride % elements == 0;
    }

    /// <summary>Whether a tensor [..., features] consists of rows of neighbouring elements, all at one distance.</summary>
    private static bool HasRows(Tensor tensor, out long stride)
    {
        (stride, long rows) = (0, 1);
        if (tensor.Shape[-1] > 1 && tensor.Strides[^1] != 1) return false;
        for (int d = tensor.Shape.Rank - 2; d >= 0; d--)
        {
            if (tensor.Shape[d] == 1) continue;
            if (rows == 1) stride = tensor.Strides[d];
            else if (tensor.Strides[d] != stride * rows) return false;
            rows *= tensor.Shape[d];
        }
        return true;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct GeluBiasArguments
    {
        public nint OutputGradient, Input, Bias;
        public TargetArgument InputGradient;
        public nint Partials;
        public long Rows, ChunkRows, OutputGradientStride, InputStride, InputGradientStride;
        public int Features, Form, RowThreads, ColumnBlocks, IsVector;
    }
}
