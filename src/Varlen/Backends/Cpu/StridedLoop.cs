namespace Varlen.Backends.Cpu;

/// <summary>
/// Walks two equally shaped strided views row by row: dimensions that lie as one in both are merged first, the innermost becomes the
/// row, and rows are grouped into blocks worth handing to a worker.
/// </summary>
internal readonly struct StridedLoop
{
    private const long BlockElements = 16384;

    private readonly int[] _sizes;
    private readonly long[] _first;
    private readonly long[] _second;

    public StridedLoop(ReadOnlySpan<int> shape, ReadOnlySpan<long> first, ReadOnlySpan<long> second)
    {
        Span<int> sizes = stackalloc int[shape.Length];
        Span<long> a = stackalloc long[shape.Length], b = stackalloc long[shape.Length];
        int rank = 0;
        for (int i = 0; i < shape.Length; i++)
        {
            if (shape[i] == 1) continue;
            long merged = rank == 0 ? 0 : (long)sizes[rank - 1] * shape[i];
            if (rank > 0 && merged <= int.MaxValue && a[rank - 1] == first[i] * shape[i] && b[rank - 1] == second[i] * shape[i])
                rank--;
            else
                merged = shape[i];
            sizes[rank] = (int)merged;
            a[rank] = first[i];
            b[rank++] = second[i];
        }
        Inner = rank == 0 ? 1 : sizes[rank - 1];
        SourceStride = rank == 0 ? 1 : a[rank - 1];
        DestinationStride = rank == 0 ? 1 : b[rank - 1];
        int outer = Math.Max(0, rank - 1);
        _sizes = sizes[..outer].ToArray();
        _first = a[..outer].ToArray();
        _second = b[..outer].ToArray();
        Rows = 1;
        foreach (int size in _sizes) Rows *= size;
        RowsPerBlock = Math.Max(1, BlockElements / Math.Max(1, Inner));
    }

    public long Rows { get; }
    public long Inner { get; }
    public long SourceStride { get; }
    public long DestinationStride { get; }
    public long RowsPerBlock { get; }
    public long Blocks => (Rows + RowsPerBlock - 1) / RowsPerBlock;

    /// <summary>Workers worth waking: none but the caller for less than a few blocks.</summary>
    public int Workers => (int)Math.Clamp(Rows * Inner / (2 * BlockElements), 1, 1024);

    /// <summary>Offsets of a row's first element in both views.</summary>
    public (long First, long Second) RowStart(long row)
    {
        long a = 0, b = 0;
        for (int i = _sizes.Length - 1; i >= 0; i--)
        {
            (row, long at) = Math.DivRem(row, _sizes[i]);
            a += at * _first[i];
            b += at * _second[i];
        }
        return (a, b);
    }
}
