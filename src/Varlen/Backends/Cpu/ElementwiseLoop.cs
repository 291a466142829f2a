namespace Varlen.Backends.Cpu;

/// <summary>Offsets of one element in each operand of an <see cref="ElementwiseLoop"/>.</summary>
[System.Runtime.CompilerServices.InlineArray(ElementwiseLoop.MaxOperands)]
internal struct OperandOffsets
{
    private long _first;
}

/// <summary>
/// Walks up to five strided operands of one shape together, in pieces worth handing to a worker. Dimensions that lie as one in all of
/// them are merged first; an operand that is broadcast along a dimension has stride 0 there.
/// </summary>
internal readonly struct ElementwiseLoop
{
    public const int MaxOperands = 5;
    private const long BlockElements = 16384;

    private readonly long[] _sizes;
    private readonly long[] _strides;
    private readonly OperandOffsets _inner;

    /// <param name="shape">The shape to walk.</param>
    /// <param name="operands">Tensors that broadcast to it; absent ones are not walked.</param>
    public ElementwiseLoop(Shape shape, params ReadOnlySpan<Tensor?> operands)
    {
        Span<long> sizes = stackalloc long[shape.Rank], strides = stackalloc long[shape.Rank * MaxOperands];
        int rank = 0;
        for (int i = 0; i < shape.Rank; i++)
        {
            int size = shape[i];
            if (size == 1) continue;
            Span<long> next = strides.Slice(rank * MaxOperands, MaxOperands);
            bool merges = rank > 0;
            for (int k = 0; k < operands.Length; k++)
            {
                next[k] = StrideOf(operands[k], i - shape.Rank);
                merges = merges && strides[(rank - 1) * MaxOperands + k] == next[k] * size;
            }
            if (merges)
            {
                next.CopyTo(strides[((rank - 1) * MaxOperands)..]);
                sizes[rank - 1] *= size;
            }
            else sizes[rank++] = size;
        }
        Inner = rank == 0 ? 1 : sizes[rank - 1];
        if (rank == 0) ((Span<long>)_inner)[..operands.Length].Fill(1);
        else strides.Slice((rank - 1) * MaxOperands, operands.Length).CopyTo(_inner);
        int outer = Math.Max(0, rank - 1);
        _sizes = sizes[..outer].ToArray();
        _strides = strides[..(outer * MaxOperands)].ToArray();
        long rows = 1;
        foreach (long size in _sizes) rows *= size;
        Total = rows * Inner;
        if (Total == 0) return;
        PiecesPerRow = (Inner + BlockElements - 1) / BlockElements;
        PiecesPerBlock = Math.Max(1, BlockElements / Inner);
        Pieces = rows * PiecesPerRow;
    }

    /// <summary>Length of a row: the innermost merged dimension.</summary>
    public long Inner { get; }

    public long Total { get; }

    /// <summary>Pieces of rows, in order; each one is within a row.</summary>
    public long Pieces { get; }

    public long PiecesPerBlock { get; }

    private long PiecesPerRow { get; }

    public long Blocks => Pieces == 0 ? 0 : (Pieces + PiecesPerBlock - 1) / PiecesPerBlock;

    /// <summary>Workers worth waking: none but the caller for less than a few blocks.</summary>
    public int Workers => (int)Math.Clamp(Total / (2 * BlockElements), 1, 1024);

    /// <summary>An operand's elements between neighbours of a row.</summary>
    public long InnerStride(int operand) => _inner[operand];

    /// <summary>Where a piece starts in each operand, and how long it is.</summary>
    public long Piece(long piece, out OperandOffsets offsets)
    {
        (long row, long part) = Math.DivRem(piece, PiecesPerRow);
        long start = part * BlockElements;
        offsets = default;
        for (int k = 0; k < MaxOperands; k++) offsets[k] = start * _inner[k];
        for (int i = _sizes.Length - 1; i >= 0; i--)
        {
            (row, long at) = Math.DivRem(row, _sizes[i]);
            for (int k = 0; k < MaxOperands; k++) offsets[k] += at * _strides[i * MaxOperands + k];
        }
        return Math.Min(BlockElements, Inner - start);
    }

    private static long StrideOf(Tensor? operand, int fromEnd)
    {
        if (operand is null) return 0;
        int axis = operand.Shape.Rank + fromEnd;
        return axis < 0 || operand.Shape[axis] == 1 ? 0 : operand.Strides[axis];
    }
}
