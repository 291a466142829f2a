using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : ICopyKernels
{
    private static readonly KernelFamily CopyStridedKernel = new("copy.cu", "copy_strided"), CopyDenseKernel = new("copy.cu", "copy_dense"), FillKernel = new("copy.cu", "fill_strided"), FillTailKernel = new("copy.cu", "fill_tail");

    public void Copy(Tensor source, Tensor destination, bool accumulate)
    {
        if (source.Count == 0) return;
        var walk = new StridedWalk2(source.Shape, source.Strides.ToArray(), destination.Strides.ToArray());
        if (walk.IsDense && source.DType == destination.DType && !accumulate)
        {
            Copy(source.Pointer, destination.Pointer, source.Count * source.DType.Size());
            return;
        }
        var arguments = new CopyArguments
        {
            Source = source.Pointer, Destination = destination.Pointer, Count = source.Count, SourceType = (int)source.DType, DestinationType = (int)destination.DType, Accumulate = accumulate ? 1 : 0, Walk = walk,
        };
        bool isFast = walk.IsDense && IsComputeType(source) && IsComputeType(destination) && IsAligned(source.Pointer) && IsAligned(destination.Pointer);
        if (isFast) Launch(CopyDenseKernel.With(), ElementBlocks(source.Count, 8 * 256), 256, in arguments);
        else Launch(CopyStridedKernel.With(), ElementBlocks(source.Count, 256), 256, in arguments);
    }

    public void Fill(Tensor destination, double value)
    {
        if (destination.Count == 0) return;
        long[] strides = destination.Strides.ToArray();
        var arguments = new FillArguments
        {
            Destination = destination.Pointer, Count = destination.Count, Type = (int)destination.DType, Value = value, Walk = new StridedWalk2(destination.Shape, strides, strides),
        };
        if (value == 0 && !double.IsNegative(value) && arguments.Walk.IsDense) FillBytes(destination.Pointer, 0, destination.Count * destination.DType.Size());
        else Launch(FillKernel.With(), ElementBlocks(destination.Count, 256), 256, in arguments);
    }

    public void FillTail(Tensor destination, int dimension, Tensor first, double value)
    {
        if (destination.Count == 0) return;
        int size = destination.Shape[dimension];
        int[] sizes = destination.Shape.Dimensions.ToArray();
        sizes[dimension] = 1;
        var others = new Shape(sizes);
        long[] strides = destination.Strides.ToArray();
        var arguments = new TailArguments
        {
            Destination = destination.Pointer, First = first.Pointer, Stride = strides[dimension], Others = others.Count, Size = size, Type = (int)destination.DType, Value = value,
            Walk = new StridedWalk2(others, strides, strides),
        };
        // The tail is mostly short, and nobody here knows.
        Launch(FillTailKernel.With(), Math.Min(ElementBlocks(destination.Count, 256), 2L * MultiprocessorCount), 256, in arguments);
    }

    /// <summary>Blocks for a loop over elements: as many as there is work for, at most a few for each place on the device.</summary>
    private long ElementBlocks(long count, long perBlock) => Math.Clamp((count + perBlock - 1) / perBlock, 1, 16L * MultiprocessorCount);

    private static bool IsComputeType(Tensor tensor) => tensor.DType is DType.Float32 or DType.BFloat16 or DType.Float16;

    /// <summary>Whether an address can be read 16 bytes at a time.</summary>
    private static bool IsAligned(nint pointer) => pointer % 16 == 0;

    [StructLayout(LayoutKind.Sequential)]
    private struct CopyArguments
    {
        public nint Source, Destination;
        public long Count;
        public int SourceType, DestinationType, Accumulate;
        public StridedWalk2 Walk;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct FillArguments
    {
        public nint Destination;
        public long Count;
        public int Type, Padding;
        public double Value;
        public StridedWalk2 Walk;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct TailArguments
    {
        public nint Destination, First;
        public long Stride, Others;
        public int Size, Type;
        public double Value;
        public StridedWalk2 Walk;
    }
}
