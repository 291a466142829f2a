using System.Numerics;
using System.Runtime.InteropServices;
using Varlen.Autograd;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : IEmbeddingKernels
{
    private const int EmbeddingRun = 64, SortDigitBits = 8;

    private static readonly KernelFamily
        EmbeddingForwardKernel = new("embedding.cu", "embedding_forward", KernelOption.FloatingPoint("ELEMENT")), EmbeddingSortKernel = new("embedding.cu", "embedding_sort", KernelOption.FloatingPoint("ELEMENT")),
        EmbeddingRunsKernel = new("embedding.cu", "embedding_runs", KernelOption.FloatingPoint("ELEMENT")), EmbeddingBackwardKernel = new("embedding.cu", "embedding_backward", KernelOption.FloatingPoint("ELEMENT"));

    public void EmbeddingForward(Tensor weight, Tensor ids, Tensor? positionWeight, Tensor? positions, Tensor output)
    {
        RequireComputeType("Embedding", weight);
        if (output.Count == 0) return;
        int features = weight.Shape[1];
        var arguments = new EmbeddingArguments
        {
            Table = weight.Pointer, PositionTable = PointerOf(positionWeight), Ids = ids.Pointer, Positions = PointerOf(positions), Output = output.Pointer,
            Tokens = ids.Count, Rows = weight.Shape[0], PositionRows = positionWeight?.Shape[0] ?? 0, Features = features,
            WideIds = ids.DType == DType.Int64 ? 1 : 0, WidePositions = positions?.DType == DType.Int64 ? 1 : 0, Aligned = HasAlignedRows(features, VectorWidth(weight), weight, positionWeight, output) ? 1 : 0,
        };
        Launch(EmbeddingForwardKernel.With(weight.DType), (ids.Count + 7) / 8, 256, in arguments);
    }

    public void EmbeddingBackward(Tensor outputGradient, Tensor ids, int? paddingIndex, GradientTarget weightGradient)
    {
        RequireComputeType("Embedding", outputGradient);
        if (weightGradient.Tensor is not { Count: > 0 } target) return;
        int rows = target.Shape[0], features = target.Shape[1], count = checked((int)ids.Count), runs = count / EmbeddingRun;
        int passes = Math.Max(1, (BitOperations.Log2((uint)Math.Max(1, rows - 1)) + SortDigitBits) / SortDigitBits);
        using Tensor sorted = Tensor.AllocateUntracked([4, count], DType.Int32, Device), bounds = Tensor.AllocateUntracked([2, rows], DType.Int32, Device);
        using Tensor? sums = runs > 0 ? Tensor.AllocateUntracked([runs, features], DType.Float32, Device) : null;
        nint line = (nint)count * sizeof(int), begins = bounds.Pointer, ends = begins + (nint)rows * sizeof(int);
        FillBytes(bounds.Pointer, 0, bounds.Count * sizeof(int));
        if (count > 0)
        {
            var sort = new SortArguments
            {
                Ids = ids.Pointer, Keys0 = sorted.Pointer, Keys1 = sorted.Pointer + line, Tokens0 = sorted.Pointer + 2 * line, Tokens1 = sorted.Pointer + 3 * line, Begins = begins, Ends = ends,
                Count = count, Rows = rows, Passes = passes, WideIds = ids.DType == DType.Int64 ? 1 : 0,
            };
            Launch(EmbeddingSortKernel.With(outputGradient.DType), 1, 1024, in sort);
        }
        int width = VectorWidth(outputGradient), threads = RowThreads(4 * features, width, most: 256);
        var arguments = new EmbeddingBackwardArguments
        {
            OutputGradient = outputGradient.Pointer, Keys = sorted.Pointer + passes % 2 * line, Tokens = sorted.Pointer + (2 + passes % 2) * line, Begins = begins, Ends = ends, Runs = PointerOf(sums),
            Count = count, Features = features, PaddingIndex = paddingIndex ?? -1, Aligned = HasAlignedRows(features, width, outputGradient, target) ? 1 : 0, Gradient = TargetArgument.From(weightGradient),
        };
        if (runs > 0) Launch(EmbeddingRunsKernel.With(outputGradient.DType), runs, threads, in arguments);
        Launch(EmbeddingBackwardKernel.With(outputGradient.DType), rows, threads, in arguments);
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct EmbeddingArguments
    {
        public nint Table, PositionTable, Ids, Positions, Output;
        public long Tokens;
        public int Rows, PositionRows, Features, WideIds, WidePositions, Aligned;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct SortArguments
    {
        public nint Ids, Keys0, Keys1, Tokens0, Tokens1, Begins, Ends;
        public int Count, Rows, Passes, WideIds;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct EmbeddingBackwardArguments
    {
        public nint OutputGradient, Keys, Tokens, Begins, Ends, Runs;
        public int Count, Features, PaddingIndex, Aligned;
        public TargetArgument Gradient;
    }
}
