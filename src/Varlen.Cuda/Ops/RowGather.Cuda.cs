using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : IRowGatherKernels
{
    private static readonly KernelFamily GatherRowsKernel = new("row_gather.cu", "gather_rows"), GatherValuesKernel = new("row_gather.cu", "gather_values");

    public void GatherRows(Tensor source, Tensor indices, Tensor destination, double fill, bool accumulate)
    {
        if (destination.Count == 0) return;
        long rows = indices.Count, features = destination.Count / rows, sourceStride = RowGather.Stride(source, features), stride = RowGather.Stride(destination, features);
        int size = destination.DType.Size(), unit = 16;
        while (unit > size && (((features | sourceStride | stride) * size) % unit != 0 || source.Pointer % unit != 0 || destination.Pointer % unit != 0)) unit /= 2;
        bool isMove = source.DType == destination.DType && !accumulate;
        // Of what a thread takes at once.
        int elements = isMove ? unit / size : 1;
        var arguments = new GatherArguments
        {
            Source = source.Pointer, Destination = destination.Pointer, Indices = indices.Pointer, Rows = rows, SourceStride = sourceStride / elements, Stride = stride / elements,
            SourceType = (int)source.DType, DestinationType = (int)destination.DType, Accumulate = accumulate ? 1 : 0, Unit = unit,
            Fill = Bits(destination.DType, fill), FillValue = fill, RowItems = new Divider(checked((int)(features / elements))),
        };
        Launch((isMove ? GatherRowsKernel : GatherValuesKernel).With(), ElementBlocks(destination.Count / elements, 256), 256, in arguments);
    }

    /// <summary>A value's bits in an element type, repeated to eight bytes.</summary>
    private static ulong Bits(DType type, double value) => type switch
    {
        DType.Float64 => BitConverter.DoubleToUInt64Bits(value),
        DType.Float32 => BitConverter.SingleToUInt32Bits((float)value) * 0x1_0000_0001UL,
        DType.BFloat16 => ((BFloat16)(float)value).Bits * 0x1_0001_0001_0001UL,
        DType.Float16 => BitConverter.HalfToUInt16Bits((Half)(float)value) * 0x1_0001_0001_0001UL,
        DType.Int32 => (uint)(int)value * 0x1_0000_0001UL,
        DType.Int64 => (ulong)(long)value,
        _ => value != 0 ? 0x0101_0101_0101_0101UL : 0,
    };

    [StructLayout(LayoutKind.Sequential)]
    private struct GatherArguments
    {
        public nint Source, Destination, Indices;
        public long Rows, SourceStride, Stride;
        public int SourceType, DestinationType, Accumulate, Unit;
        public ulong Fill;
        public double FillValue;
        public Divider RowItems;
        public int Padding;
    }
}
