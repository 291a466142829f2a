using System.Numerics;
using System.Runtime.InteropServices;
using Varlen.Autograd;

namespace Varlen.Backends.Cpu;

/// <summary>Work on consecutive independent rows.</summary>
internal interface IRowRange
{
    void Invoke(long first, long end);
}

/// <summary>One row's contribution to sums over rows: parameter gradients.</summary>
internal unsafe interface IColumnTerm<A> where A : unmanaged
{
    /// <summary>Adds row <paramref name="row"/>, columns [first, first + length), to the sums: one run of <paramref name="length"/> per output.</summary>
    void Add(long row, int first, int length, A* sums);
}

internal sealed unsafe partial class CpuBackend
{
    private const long BlockElements = 16384;
    private const int SumRows = 256, SumColumnsPerTask = 256;

    /// <summary>Splits rows into blocks of some thousand elements over the team. Each row is computed by itself, so results do not depend on the split.</summary>
    public void ForRows<TRange>(long rows, long elementsPerRow, ref TRange range) where TRange : struct, IRowRange
    {
        long perBlock = Math.Max(1, BlockElements / Math.Max(1, elementsPerRow));
        var blocks = new RowBlocks<TRange> { Range = range, Rows = rows, PerBlock = perBlock };
        Team.For((rows + perBlock - 1) / perBlock, ref blocks, (int)Math.Clamp(rows * elementsPerRow / (2 * BlockElements), 1, 1024));
    }

    /// <summary>
    /// Sums terms over all rows into targets of <paramref name="columns"/> elements each. Rows are summed in runs of a fixed length and the
    /// runs in order, so the bits do not depend on the number of threads, and the rounding error grows with the runs, not the rows.
    /// </summary>
    public void SumColumns<TTerm, A>(long rows, int columns, TTerm term, params ReadOnlySpan<GradientTarget> targets)
        where TTerm : struct, IColumnTerm<A> where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        if (columns == 0) return;
        long runs = Math.Max(1, (rows + SumRows - 1) / SumRows);
        int strips = (columns + SumColumnsPerTask - 1) / SumColumnsPerTask;
        long partialBytes = checked(runs * targets.Length * columns * sizeof(A));
        var partials = (A*)Allocator.Allocate(partialBytes);
        try
        {
            NativeMemory.Clear(partials, (nuint)partialBytes);
            var tasks = new ColumnRuns<TTerm, A> { Term = term, Rows = rows, Columns = columns, Outputs = targets.Length, Strips = strips, Partials = partials };
            Team.For(runs * strips, ref tasks, (int)Math.Clamp(rows * columns / (2 * BlockElements), 1, 1024));
            long width = (long)targets.Length * columns;
            for (long run = 1; run < runs; run++)
                for (long i = 0; i < width; i++) partials[i] += partials[run * width + i];
            // Within one strip the outputs lie one after the other.
            for (int strip = 0; strip < strips; strip++)
            {
                int first = strip * SumColumnsPerTask, length = Math.Min(SumColumnsPerTask, columns - first);
                for (int output = 0; output < targets.Length; output++)
                    if (targets[output] is { Tensor: { } target, Accumulate: var accumulate })
                        Rows.Write(partials + (long)first * targets.Length + (long)output * length, (byte*)target.Pointer + (long)first * target.DType.Size(), target.DType, length, accumulate);
            }
        }
        finally
        {
            Allocator.Free((nint)partials, partialBytes);
        }
    }

    private struct RowBlocks<TRange> : IParallelItems where TRange : struct, IRowRange
    {
        public TRange Range;
        public long Rows, PerBlock;

        public void Invoke(long item, int worker) => Range.Invoke(item * PerBlock, Math.Min(Rows, (item + 1) * PerBlock));
    }

    private struct ColumnRuns<TTerm, A> : IParallelItems where TTerm : struct, IColumnTerm<A> where A : unmanaged
    {
        public TTerm Term;
        public long Rows;
        public int Columns, Outputs, Strips;
        public A* Partials;

        public void Invoke(long item, int worker)
        {
            (long run, long strip) = Math.DivRem(item, Strips);
            int first = (int)strip * SumColumnsPerTask, length = Math.Min(SumColumnsPerTask, Columns - first);
            A* sums = Partials + run * Outputs * Columns + (long)first * Outputs;
            long end = Math.Min(Rows, (run + 1) * SumRows);
            for (long row = run * SumRows; row < end; row++) Term.Add(row, first, length, sums);
        }
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

    /// <summary>Sum of a row, in an order that depends on the length alone.</summary>
    public static A Sum<A>(A* a, int length) where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        Vector<A> sum = Vector<A>.Zero;
        int i = 0;
        for (; i <= length - Vector<A>.Count; i += Vector<A>.Count) sum += Vector.Load(a + i);
        A total = Vector.Sum(sum);
        for (; i < length; i++) total += a[i];
        return total;
    }
}
