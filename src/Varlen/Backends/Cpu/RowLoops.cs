using System.Numerics;

namespace Varlen.Backends.Cpu;

/// <summary>Work on consecutive independent rows.</summary>
internal interface IRowRange
{
    void Invoke(long first, long end);
}

internal sealed unsafe partial class CpuBackend
{
    private const long BlockElements = 16384;

    /// <summary>Splits rows into blocks of some thousand elements over the team. Each row is computed by itself, so results do not depend on the split.</summary>
    public void ForRows<TRange>(long rows, long elementsPerRow, ref TRange range) where TRange : struct, IRowRange
    {
        long perBlock = Math.Max(1, BlockElements / Math.Max(1, elementsPerRow));
        var blocks = new RowBlocks<TRange> { Range = range, Rows = rows, PerBlock = perBlock };
        Team.For((rows + perBlock - 1) / perBlock, ref blocks, (int)Math.Clamp(rows * elementsPerRow / (2 * BlockElements), 1, 1024));
    }

    private struct RowBlocks<TRange> : IParallelItems where TRange : struct, IRowRange
    {
        public TRange Range;
        public long Rows, PerBlock;

        public void Invoke(long item, int worker) => Range.Invoke(item * PerBlock, Math.Min(Rows, (item + 1) * PerBlock));
    }
}

/// <summary>Vectorised arithmetic within one row.</summary>
internal static unsafe class RowMath
{
    /// <summary>Sum of products, in an order that depends on the length alone.</summary>
    public static A Dot<A>(A* a, A* b, int length) where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        Vector<A> sum = Vector<A>.Zero;
        int i = 0;
        for (; i <= length - Vector<A>.Count; i += Vector<A>.Count) sum += Vector.Load(a + i) * Vector.Load(b + i);
        A total = Vector.Sum(sum);
        for (; i < length; i++) total += a[i] * b[i];
        return total;
    }
}
