using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Varlen.Backends.Cuda;

/// <summary>Sizes and strides of operands that are walked together, merged as far as their layouts allow: the twin of strided.cuh's.</summary>
internal static class StridedWalk
{
    public const int MaxRank = 8;

    /// <summary>Merges dimensions, innermost last, and gives how many remain: at least one.</summary>
    /// <param name="shape">The common shape.</param>
    /// <param name="operands">Strides of each operand in that shape, 0 where it repeats.</param>
    /// <param name="sizes">Receives merged sizes.</param>
    /// <param name="strides">Receives merged strides, <see cref="MaxRank"/> for each operand.</param>
    public static int Merge(ReadOnlySpan<int> shape, ReadOnlySpan<long[]> operands, Span<int> sizes, Span<long> strides)
    {
        int rank = 0;
        for (int d = 0; d < shape.Length; d++)
        {
            if (shape[d] == 1) continue;
            bool merges = rank > 0 && (long)sizes[rank - 1] * shape[d] <= int.MaxValue;
            for (int n = 0; merges && n < operands.Length; n++) merges = strides[n * MaxRank + rank - 1] == operands[n][d] * shape[d];
            if (!merges && rank == MaxRank) throw new NotSupportedException($"a view with more than {MaxRank} dimensions that cannot be merged is not supported; call Contiguous()");
            int at = merges ? rank - 1 : rank++;
            sizes[at] = merges ? sizes[at] * shape[d] : shape[d];
            for (int n = 0; n < operands.Length; n++) strides[n * MaxRank + at] = operands[n][d];
        }
        if (rank > 0) return rank;
        sizes[0] = 1;
        for (int n = 0; n < operands.Length; n++) strides[n * MaxRank] = 1;
        return 1;
    }

    /// <summary>Strides of a tensor in a shape that it broadcasts to.</summary>
    public static long[] Broadcast(Tensor tensor, Shape shape)
    {
        var strides = new long[shape.Rank];
        for (int fromEnd = 1; fromEnd <= tensor.Shape.Rank; fromEnd++)
            strides[^fromEnd] = tensor.Shape[-fromEnd] == 1 ? 0 : tensor.Strides[^fromEnd];
        return strides;
    }
}

/// <summary>Two operands.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct StridedWalk2
{
    public int Rank;
    private Sizes _sizes;
    private Strides _strides;

    public StridedWalk2(Shape shape, long[] first, long[] second) => Rank = StridedWalk.Merge(shape.Dimensions, [first, second], _sizes, _strides);

    /// <summary>Whether all operands lie densely in the same order.</summary>
    public readonly bool IsDense => Rank == 1 && _strides[0] == 1 && _strides[StridedWalk.MaxRank] == 1;

    [InlineArray(2 * StridedWalk.MaxRank)]
    private struct Strides
    {
        private long _first;
    }
}

/// <summary>Three operands.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct StridedWalk3
{
    public int Rank;
    private Sizes _sizes;
    private Strides _strides;

    public StridedWalk3(Shape shape, long[] first, long[] second, long[] third) => Rank = StridedWalk.Merge(shape.Dimensions, [first, second, third], _sizes, _strides);

    /// <inheritdoc cref="StridedWalk2.IsDense"/>
    public readonly bool IsDense => Rank == 1 && _strides[0] == 1 && _strides[StridedWalk.MaxRank] == 1 && _strides[2 * StridedWalk.MaxRank] == 1;

    [InlineArray(3 * StridedWalk.MaxRank)]
    private struct Strides
    {
        private long _first;
    }
}

[InlineArray(StridedWalk.MaxRank)]
internal struct Sizes
{
    private int _first;
}
