using System.Runtime.InteropServices;
using Varlen.Autograd;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : INormKernels
{
    // Of the backward kernels: columns of a thread, the most threads that share a row, and the most of the block of several rows.
    private const int OwnedColumns = 8, MostRowThreads = 1024, GroupedThreads = 384;

    private static readonly KernelFamily
        NormForwardKernel = new("norm.cu", "norm_forward", KernelOption.FloatingPoint("ELEMENT")), NormForwardWideKernel = new("norm.cu", "norm_forward_wide", KernelOption.FloatingPoint("ELEMENT")), NormForwardLongKernel = new("norm.cu", "norm_forward_long", KernelOption.FloatingPoint("ELEMENT")),
        NormBackwardKernel = new("norm.cu", "norm_backward", KernelOption.FloatingPoint("ELEMENT")), NormBackwardWideKernel = new("norm.cu", "norm_backward_wide", KernelOption.FloatingPoint("ELEMENT")),
        NormParametersLongKernel = new("norm.cu", "norm_parameters_long", KernelOption.FloatingPoint("ELEMENT")), NormRowsLongKernel = new("norm.cu", "norm_rows_long", KernelOption.FloatingPoint("ELEMENT"));

    public void NormForward(Tensor input, Tensor? addend, Tensor? weight, Tensor? bias, double epsilon, Tensor? sum, Tensor output, Tensor? mean, Tensor rstd)
    {
        RequireComputeType("Norm", input);
        long rows = rstd.Count;
        if (input.Count == 0)
        {
            // No features: the statistics are what the CPU leaves there, a division of zero by zero.
            if (rows > 0) Fill(rstd, double.NaN);
            if (rows > 0 && mean is not null) Fill(mean, double.NaN);
            return;
        }
        int features = input.Shape[-1], width = VectorWidth(input), warp = WarpFeatures(input);
        var arguments = new NormForwardArguments
        {
            Input = input.Pointer, Addend = PointerOf(addend), Weight = PointerOf(weight), Bias = PointerOf(bias), Sum = PointerOf(sum), Output = output.Pointer, Mean = PointerOf(mean), Rstd = rstd.Pointer,
            Rows = rows, Features = features, Epsilon = (float)epsilon, Aligned = HasAlignedRows(features, width, input, addend, weight, bias, sum, output) ? 1 : 0,
        };
        if (features <= warp) Launch(NormForwardKernel.With(input.DType), (rows + 7) / 8, 256, in arguments);
        else if (features <= 16 * warp) Launch(NormForwardWideKernel.With(input.DType), rows, 32 * ((features + warp - 1) / warp), in arguments);
        else Launch(NormForwardLongKernel.With(input.DType), rows, 1024, in arguments);
    }

    public void NormBackward(
        Tensor outputGradient, Tensor? sumGradient, Tensor input, Tensor? weight, Tensor? mean, Tensor rstd,
        GradientTarget inputGradient, GradientTarget addendGradient, GradientTarget weightGradient, GradientTarget biasGradient)
    {
        RequireComputeType("Norm", input);
        long rows = rstd.Count;
        int features = input.Shape[-1], width = VectorWidth(input);
        bool sums = weightGradient.IsWanted || biasGradient.IsWanted, wantsRows = inputGradient.IsWanted || addendGradient.IsWanted;
        if (features == 0) return;
        if (rows == 0)
        {
            AddPartialPairs(0, 0, features, weightGradient, biasGradient);
            return;
        }
        bool isLong = features > MostRowThreads * OwnedColumns;
        int rowThreads = isLong ? MostRowThreads : (features + 32 * OwnedColumns - 1) / (32 * OwnedColumns) * 32, groups = Math.Max(1, GroupedThreads / rowThreads);
        // As many blocks as are on the device at a time.
        bool isWide = rowThreads > GroupedThreads;
        int blocks = RowChunks(rows, leastRows: 16, isLong ? 4 : isWide ? 1 : Math.Max(2, 2 * GroupedThreads / (groups * rowThreads)));
        long rowsPerBlock = (rows + blocks - 1) / blocks;
        blocks = (int)((rows + rowsPerBlock - 1) / rowsPerBlock);
        using Tensor? partials = sums ? Tensor.AllocateUntracked([blocks, 2, features], DType.Float32, Device) : null;
        var arguments = new NormBackwardArguments
        {
            OutputGradient = outputGradient.Pointer, SumGradient = PointerOf(sumGradient), Input = input.Pointer, Weight = PointerOf(weight), Mean = PointerOf(mean), Rstd = rstd.Pointer, Partials = PointerOf(partials),
            Rows = rows, RowsPerBlock = rowsPerBlock, Features = features, RowThreads = rowThreads,
            Aligned = HasAlignedRows(features, width, outputGradient, sumGradient, input, weight, inputGradient.Tensor, addendGradient.Tensor) ? 1 : 0,
            First = TargetArgument.From(inputGradient), Second = TargetArgument.From(addendGradient),
        };
        if (isLong)
        {
            if (sums) Launch(NormParametersLongKernel.With(input.DType), blocks * ((features + 255L) / 256), 256, in arguments);
            if (wantsRows) Launch(NormRowsLongKernel.With(input.DType), rows, 1024, in arguments);
        }
        else Launch((isWide ? NormBackwardWideKernel : NormBackwardKernel).With(input.DType), blocks, groups * rowThreads, in arguments);
        if (sums) AddPartialPairs(partials!.Pointer, blocks, features, weightGradient, biasGradient);
    }

    /// <summary>Elements of 16 bytes.</summary>
    private static int VectorWidth(Tensor tensor) => 16 / tensor.DType.Size();

    /// <summary>Features that a warp holds: four vectors for each lane.</summary>
    private static int WarpFeatures(Tensor tensor) => 32 * 4 * VectorWidth(tensor);

    private static nint PointerOf(Tensor? tensor) => tensor?.Pointer ?? 0;

    /// <summary>Whether all rows consist of whole vectors at addresses that allow reading them at once.</summary>
    private static bool HasAlignedRows(int features, int width, params ReadOnlySpan<Tensor?> tensors)
    {
        if (features % width != 0) return false;
        foreach (Tensor? tensor in tensors)
            if (tensor is not null && !IsAligned(tensor.Pointer)) return false;
        return true;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct NormForwardArguments
    {
        public nint Input, Addend, Weight, Bias, Sum, Output, Mean, Rstd;
        public long Rows;
        public int Features, Aligned;
        public float Epsilon;
        public int Padding;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct NormBackwardArguments
    {
        public nint OutputGradient, SumGradient, Input, Weight, Mean, Rstd, Partials;
        public long Rows, RowsPerBlock;
        public int Features, Aligned, RowThreads, Padding;
        public TargetArgument First, Second;
    }
}
