using System.Numerics;
using System.Runtime.InteropServices;
using Varlen.Autograd;

namespace Varlen.Backends.Cpu;

/// <summary>Work on consecutive rows that also adds to sums over rows: an input's gradient together with those of the parameters.</summary>
internal unsafe interface IRowRun<A> where A : unmanaged
{
    /// <param name="first">First row.</param>
    /// <param name="end">Row after the last.</param>
    /// <param name="sums">One run of columns per target, to be added to; null when no target is wanted.</param>
    void Invoke(long first, long end, A* sums);
}

internal sealed unsafe partial class CpuBackend
{
    private const int RunRows = 64, StripColumns = 256;

    /// <summary>
    /// Visits all rows once, in runs of a fixed length that each have sums of their own, which are then added in order into the targets:
    /// the bits do not depend on the number of threads.
    /// </summary>
    public void ForRowsWithSums<TRun, A>(long rows, int columns, ref TRun run, params ReadOnlySpan<GradientTarget> targets)
        where TRun : struct, IRowRun<A> where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        bool wanted = false;
        foreach (GradientTarget target in targets) wanted |= target.IsWanted;
        long runs = Math.Max(1, (rows + RunRows - 1) / RunRows), width = (long)targets.Length * columns;
        long bytes = wanted ? checked(runs * width * sizeof(A)) : 0;
        A* partials = bytes == 0 ? null : (A*)Allocator.Allocate(bytes);
        try
        {
            int workers = (int)Math.Clamp(rows * columns / (2 * BlockElements), 1, 1024);
            var items = new RowRuns<TRun, A> { Run = run, Rows = rows, Width = width, Partials = partials };
            Team.For(runs, ref items, workers);
            if (partials == null) return;
            var strips = new RunSums<A> { Partials = partials, Runs = runs, Width = width };
            Team.For((width + StripColumns - 1) / StripColumns, ref strips, (int)Math.Clamp(runs * width / (2 * BlockElements), 1, 1024));
            for (int i = 0; i < targets.Length; i++)
                if (targets[i] is { Tensor: { } target, Accumulate: var accumulate })
                    Rows.Write(partials + (long)i * columns, (void*)target.Pointer, target.DType, columns, accumulate);
        }
        finally
        {
            if (partials != null) Allocator.Free((nint)partials, bytes);
        }
    }

    private struct RowRuns<TRun, A> : IParallelItems where TRun : struct, IRowRun<A> where A : unmanaged
    {
        public TRun Run;
        public long Rows, Width;
        public A* Partials;

        public void Invoke(long item, int worker)
        {
            A* sums = Partials == null ? null : Partials + item * Width;
            if (sums != null) NativeMemory.Clear(sums, (nuint)(Width * sizeof(A)));
            Run.Invoke(item * RunRows, Math.Min(Rows, (item + 1) * RunRows), sums);
        }
    }

    private struct RunSums<A> : IParallelItems where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        public A* Partials;
        public long Runs, Width;

        public readonly void Invoke(long item, int worker)
        {
            long first = item * StripColumns, length = Math.Min(StripColumns, Width - first);
            for (long run = 1; run < Runs; run++) Rows.Write(Partials + run * Width + first, Partials + first, length, accumulate: true);
        }
    }
}
