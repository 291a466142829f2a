using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : IRowGatherKernels, IRowScatterKernels
{
    private static readonly KernelFamily GatherRowsKernel = new("row_gather.cu", "gather_rows"), GatherValuesKernel = new("row_gather.cu", "gather_values"),
        ScatterRowsKernel = new("row_gather.cu", "scatter_rows");

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

    public void ScatterRows(RowScatter first, RowScatter second, Tensor indices)
    {
        if (first.Source.Count == 0) return;
        long rows = indices.Count, features = first.Source.Count / rows;
        int size = first.Source.DType.Size(), unit = 16;
        foreach (RowScatter pair in (ReadOnlySpan<RowScatter>)[first, second])
            while (unit > size && (((features | RowGather.Stride(pair.Source, features) | RowGather.Stride(pair.Destination, features)) * size) % unit != 0 || pair.Source.Pointer % unit != 0 || pair.Destination.Pointer % unit != 0)) unit /= 2;
        int elements = unit / size;
        var arguments = new ScatterArguments
        {
            FirstSource = first.Source.Pointer, SecondSource = second.Source.Pointer, FirstDestination = first.Destination.Pointer, SecondDestination = second.Destination.Pointer,
            Indices = indices.Pointer, Rows = rows, Unit = unit, RowItems = new Divider(checked((int)(features / elements))),
            FirstSourceStride = RowGather.Stride(first.Source, features) / elements, SecondSourceStride = RowGather.Stride(second.Source, features) / elements,
            FirstStride = RowGather.Stride(first.Destination, features) / elements, SecondStride = RowGather.Stride(second.Destination, features) / elements,
        };
        Launch(ScatterRowsKernel.With(), 2 * ElementBlocks(first.Source.Count / elements, 256), 256, in arguments);
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

    [StructLayout(LayoutKind.Sequential)]
    private struct ScatterArguments
    {
        public nint FirstSource, SecondSource, FirstDestination, SecondDestination, Indices;
        public long Rows, FirstSourceStride, SecondSourceStride, FirstStride, SecondStride;
        public Divider RowItems;
        public int Unit;
    }
}
