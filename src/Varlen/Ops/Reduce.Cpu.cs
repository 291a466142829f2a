using System.Numerics;
using System.Runtime.CompilerServices;
using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : IReductionKernels
{
    public void Reduce(Reduction reduction, Tensor input, Tensor output, double scale, bool accumulate)
    {
        var call = new ReduceCall { Backend = this, Input = input, Output = output, Scale = scale, Accumulate = accumulate };
        switch (reduction)
        {
            case Reduction.Sum: Run<SumReduction>(); break;
            case Reduction.Max: Run<MaxReduction>(); break;
        }

        void Run<TReduction>() where TReduction : struct, IReduction
        {
            var kernel = new ReduceKernel<TReduction> { Call = call };
            if (output.Count > 0) Rows.Dispatch(input.DType, ref kernel);
        }
    }

    public void Spread(Tensor source, double scale, GradientTarget destination)
    {
        if (destination.Tensor is { } tensor) Map(new UnaryForward<Scaled> { Constant = scale }, tensor.Shape, source, null, null, destination);
    }

    public void MarkMaximum(Tensor input, Tensor maximum, Tensor mark) => Map(default(MaximumMark), input, maximum, null, mark);

    public void SelectMaximum(Tensor input, Tensor maximum, Tensor value, GradientTarget destination)
    {
        if (destination.IsWanted) Map(default(MaximumSelection), input.Shape, input, maximum, value, destination);
    }

    private struct ReduceCall
    {
        public CpuBackend Backend;
        public Tensor Input, Output;
        public double Scale;
        public bool Accumulate;
    }

    /// <summary>
    /// Partial results of fixed runs of terms, in parallel, then the runs of each result in order: the split depends on the shape alone.
    /// </summary>
    private struct ReduceKernel<TReduction> : ITypedKernel where TReduction : struct, IReduction
    {
        public ReduceCall Call;

        public readonly void Run<T, A>() where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            var walk = new ReductionWalk(Call.Input, Call.Output);
            long bytes = checked(walk.Outputs * walk.Runs * sizeof(double));
            nint partials = Call.Backend.Allocator.Allocate(bytes);
            try
            {
                var items = new ReduceItems<TReduction, T, A> { Walk = walk, Input = Call.Input.Data<T>(), Partials = (double*)partials };
                Call.Backend.Team.For(walk.Blocks, ref items, walk.Workers);
                Finish<A>(walk, (double*)partials);
            }
            finally
            {
                Call.Backend.Allocator.Free(partials, bytes);
            }
        }

        private readonly void Finish<A>(in ReductionWalk walk, double* partials) where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            var memory = (byte*)Call.Output.Pointer;
            DType type = Call.Output.DType;
            for (long output = 0; output < walk.Outputs; output++)
            {
                double total = partials[output];
                for (long run = 1; run < walk.Runs; run++) total = TReduction.Combine(total, partials[run * walk.Outputs + output]);
                A value = A.CreateTruncating(total * Call.Scale);
                Rows.Write(&value, memory + walk.OutputOffset(output) * type.Size(), type, 1, Call.Accumulate);
            }
        }
    }

    private struct ReduceItems<TReduction, T, A> : IParallelItems
        where TReduction : struct, IReduction where T : unmanaged where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        private const int Tile = 2048;

        public ReductionWalk Walk;
        public T* Input;
        public double* Partials;

        public readonly void Invoke(long block, int worker)
        {
            (long first, long end) = Walk.Items(block);
            for (long item = first; item < end; item++)
                if (Walk.AlongRows) ReduceRows(item);
                else ReduceColumns(item);
        }

        /// <summary>One run of one result, whose terms lie next to each other.</summary>
        private readonly void ReduceRows(long item)
        {
            A* scratch = Scratch.Get<A>(Tile);
            (long run, long output) = Math.DivRem(item, Walk.Outputs);
            T* start = Input + Walk.InputOffset(output);
            double total = double.CreateTruncating(TReduction.Identity<A>());
            (long term, long end) = Walk.Terms(run);
            while (term < end)
            {
                long offset = Walk.TermOffset(term, out long left);
                int n = (int)Math.Min(Math.Min(left, Tile), end - term);
                A* values = Gather(start + offset, Walk.TermStride, n, scratch);
                total = TReduction.Combine(total, double.CreateTruncating(RowReduction<TReduction>.Of(values, n)));
                term += n;
            }
            Partials[run * Walk.Outputs + output] = total;
        }

        /// <summary>One run of a strip of neighbouring results.</summary>
        private readonly void ReduceColumns(long item)
        {
            A* sums = Scratch.Get<A>(2L * ReductionWalk.StripColumns), scratch = sums + ReductionWalk.StripColumns;
            (long run, long strip) = Math.DivRem(item, Walk.Strips);
            (long output, int columns) = Walk.Strip(strip);
            new Span<A>(sums, columns).Fill(TReduction.Identity<A>());
            T* start = Input + Walk.InputOffset(output);
            (long term, long end) = Walk.Terms(run);
            for (; term < end; term++)
            {
                A* values = Gather(start + Walk.TermOffset(term, out _), Walk.OutputStride, columns, scratch);
                int i = 0;
                for (; i <= columns - Vector<A>.Count; i += Vector<A>.Count) TReduction.Combine(Vector.Load(sums + i), Vector.Load(values + i)).Store(sums + i);
                for (; i < columns; i++) sums[i] = TReduction.Combine(sums[i], values[i]);
            }
            for (int i = 0; i < columns; i++) Partials[run * Walk.Outputs + output + i] = double.CreateTruncating(sums[i]);
        }

        private static A* Gather(T* source, long stride, int n, A* scratch)
        {
            if (stride == 1) return Rows.Read(source, n, scratch);
            for (int i = 0; i < n; i++) scratch[i] = Element.Convert<T, A>(source[i * stride]);
            return scratch;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<A> IsMaximum<A>(Vector<A> x, Vector<A> maximum) where A : unmanaged
        => Vector.Equals(x, maximum) | Vector.AndNot(Vector.OnesComplement(Vector.Equals(x, x)), Vector.Equals(maximum, maximum));

    private readonly struct MaximumMark : IElementwise
    {
        public static int Inputs => 2;
        public static int Outputs => 1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => (y, z) = (Vector.ConditionalSelect(IsMaximum(a, b), Vector<A>.One, Vector<A>.Zero), default);
    }

    private readonly struct MaximumSelection : IElementwise
    {
        public static int Inputs => 3;
        public static int Outputs => 1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => (y, z) = (Vector.ConditionalSelect(IsMaximum(a, b), c, Vector<A>.Zero), default);
    }
}
