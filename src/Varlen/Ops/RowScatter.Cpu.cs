using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : IRowScatterKernels
{
    public void ScatterRows(RowScatter first, RowScatter second, Tensor indices)
    {
        Scatter(first.Source, indices, first.Destination);
        Scatter(second.Source, indices, second.Destination);
    }

    private static void Scatter(Tensor source, Tensor indices, Tensor destination)
    {
        if (source.Count == 0) return;
        int* places = indices.Data<int>();
        long rows = indices.Count, features = source.Count / rows, size = source.DType.Size();
        long sourceBytes = RowGather.Stride(source, features) * size, bytes = RowGather.Stride(destination, features) * size;
        for (long i = 0; i < rows; i++)
            if (places[i] >= 0) Buffer.MemoryCopy((byte*)source.Pointer + (i * sourceBytes), (byte*)destination.Pointer + (places[i] * bytes), features * size, features * size);
    }
}
