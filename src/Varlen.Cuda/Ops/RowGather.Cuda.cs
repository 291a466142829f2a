using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Backends.Cuda.Memory;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : IRowGatherKernels
{
    private static readonly KernelFamily GatherRowsKernel = new("row_gather.cu", "gather_rows"), GatherValuesKernel = new("row_gather.cu", "gather_values");

    public void GatherRows(Tensor source, ReadOnlySpan<int> indices, Tensor destination, double fill, bool accumulate)
    {
        if (indices.Length == 0 || destination.Count == 0) return;
        long features = destination.Count / indices.Length, rowBytes = features * destination.DType.Size();
        int unit = 16;
        while (unit > destination.DType.Size() && (rowBytes % unit != 0 || source.Pointer % unit != 0 || destination.Pointer % unit != 0)) unit /= 2;
        using DeviceArray uploaded = Upload(indices);
        var arguments = new GatherArguments
        {
            Source = source.Pointer, Destination = destination.Pointer, Indices = uploaded.Pointer, Rows = indices.Length, Features = features,
            SourceType = (int)source.DType, DestinationType = (int)destination.DType, Accumulate = accumulate ? 1 : 0, Unit = unit,
            Fill = Bits(destination.DType, fill), FillValue = fill, RowUnits = new Divider(checked((int)(rowBytes / unit))),
        };
        bool isMove = source.DType == destination.DType && !accumulate;
        long items = isMove ? indices.Length * (rowBytes / unit) : destination.Count;
        Launch((isMove ? GatherRowsKernel : GatherValuesKernel).With(), ElementBlocks(items, 256), 256, in arguments);
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
        public long Rows, Features;
        public int SourceType, DestinationType, Accumulate, Unit;
        public ulong Fill;
        public double FillValue;
        public Divider RowUnits;
        public int Padding;
    }
}
