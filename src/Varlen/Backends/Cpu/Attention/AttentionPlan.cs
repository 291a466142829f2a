using System.Runtime.InteropServices;

namespace Varlen.Backends.Cpu.Attention;

/// <summary>Work that is never divided: some key heads (with all their query heads) over a part of one sequence.</summary>
internal struct AttentionUnit
{
    public int Sequence;
    /// <summary>First key head, and how many.</summary>
    public int Head, Heads;
    /// <summary>The part: queries in the forward pass, keys in the backward pass.</summary>
    public int First, End;
}

/// <summary>
/// Cuts a call into units, longest sequences first, and bundles short units into tasks. How the work is cut never changes a result.
/// One plan per thread, kept between calls.
/// </summary>
internal sealed unsafe class AttentionPlan
{
    // In multiply-adds: some tens of microseconds, so that taking a task costs nothing next to it.
    private const double TaskGrain = 1 << 20;

    // Each part of a sequence copies its keys and values again, which a few hundred queries pay for.
    private const int MinimumQueries = 240;

    // Heads of a short sequence are fetched into the second-level cache together; this leaves room for scratch.
    private const int FetchedFloats = 1 << 17;

    // Octaves and eighths of a sequence's cost.
    private const int Buckets = 2048;

    [ThreadStatic] private static AttentionPlan? t_current;

    private AttentionUnit* _units;
    private int* _taskEnds;
    private int* _order;
    private int* _progress;
    private long _unitCapacity, _taskCapacity, _orderCapacity, _progressCapacity;
    private double _openCost;

    /// <summary>The calling thread's plan.</summary>
    internal static AttentionPlan OfThisThread => t_current ??= new AttentionPlan();

    internal AttentionUnit* Units => _units;

    /// <summary>One past the last unit of each task.</summary>
    internal int* TaskEnds => _taskEnds;

    /// <summary>One counter per unit, zero at first: how many of its query blocks are in place.</summary>
    internal int* Progress => _progress;

    internal int UnitCount { get; private set; }

    internal int TaskCount { get; private set; }

    /// <summary>
    /// Units over query ranges whose bounds are multiples of <paramref name="block"/>, of at most <paramref name="longest"/>
    /// queries when there are more than <paramref name="chunk"/> keys.
    /// </summary>
    internal void BuildForward(in AttentionProblem problem, int workers, int block, int chunk, int longest)
    {
        double total = Begin(problem);
        int group = problem.QueryHeads / problem.KeyHeads;
        double target = Target(total, problem.KeyHeads, workers);
        for (int i = 0; i < problem.SequenceCount; i++)
        {
            ref readonly AttentionSequence sequence = ref problem.Sequences[_order[i]];
            if (sequence.QueryLength == 0) continue;
            double cost = Cost(problem, sequence, group);
            int parts = (int)Math.Min(Math.Ceiling(cost / target), sequence.QueryLength / MinimumQueries);
            if (sequence.KeyLength > chunk) parts = Math.Max(parts, (sequence.QueryLength + longest - 1) / longest);
            parts = Math.Max(parts, 1);
            int size = (((sequence.QueryLength + parts - 1) / parts) + block - 1) / block * block;
            AddHeads(problem, _order[i], sequence.QueryLength, size, cost, target, 2);
        }
    }

    /// <summary>Units over chunks of keys; chunks of one head follow each other in order.</summary>
    internal void BuildBackward(in AttentionProblem problem, int workers, int chunk)
    {
        double target = Target(2.5 * Begin(problem), problem.KeyHeads, workers);
        int group = problem.QueryHeads / problem.KeyHeads;
        for (int i = 0; i < problem.SequenceCount; i++)
        {
            ref readonly AttentionSequence sequence = ref problem.Sequences[_order[i]];
            if (sequence.QueryLength == 0 && sequence.KeyLength == 0) continue;
            AddHeads(problem, _order[i], sequence.KeyLength, chunk, 2.5 * Cost(problem, sequence, group), target, 4);
        }
        Reserve(ref _progress, ref _progressCapacity, UnitCount);
        new Span<int>(_progress, UnitCount).Clear();
    }

    // Enough units for every worker to take several, or one each when nothing waits for the slowest.
    private static double Target(double costPerHead, int heads, int workers)
        => workers == 1 ? double.MaxValue : Math.Max(TaskGrain, costPerHead * heads / (workers * 8.0));

    // Operands: how many of the size of the queries, and as many of the size of the keys, a unit reads and writes.
    private void AddHeads(in AttentionProblem problem, int sequence, int length, int size, double costPerHead, double target, int operands)
    {
        ref readonly AttentionSequence s = ref problem.Sequences[sequence];
        int heads = 1;
        if (length <= size && costPerHead < TaskGrain)
        {
            int group = problem.QueryHeads / problem.KeyHeads;
            double floats = (double)operands * problem.HeadDim * (((double)s.QueryLength * group) + s.KeyLength);
            heads = (int)Math.Clamp(Math.Min(FetchedFloats / Math.Max(floats, 1), target / costPerHead), 1, problem.KeyHeads);
        }
        double unitCost = costPerHead * size / Math.Max(length, size);
        for (int head = 0; head < problem.KeyHeads; head += heads)
        {
            int count = Math.Min(heads, problem.KeyHeads - head);
            int first = 0;
            do
            {
                Add(new AttentionUnit { Sequence = sequence, Head = head, Heads = count, First = first, End = Math.Min(first + size, length) },
                    unitCost * count);
                first += size;
            }
            while (first < length);
        }
    }

    private double Begin(in AttentionProblem problem)
    {
        UnitCount = TaskCount = 0;
        _openCost = double.MaxValue;
        Reserve(ref _order, ref _orderCapacity, problem.SequenceCount);
        int* starts = stackalloc int[Buckets];
        new Span<int>(starts, Buckets).Clear();
        int group = problem.QueryHeads / problem.KeyHeads;
        double total = 0;
        for (int i = 0; i < problem.SequenceCount; i++)
        {
            double cost = Cost(problem, problem.Sequences[i], group);
            total += cost;
            starts[Bucket(cost)]++;
        }
        int position = 0;
        for (int bucket = 0; bucket < Buckets; bucket++) (starts[bucket], position) = (position, position + starts[bucket]);
        for (int i = 0; i < problem.SequenceCount; i++)
            _order[starts[Bucket(Cost(problem, problem.Sequences[i], group))]++] = i;
        return total;
    }

    // The top bits of a positive float order it by octave and eighth; high costs come first.
    private static int Bucket(double cost) => Buckets - 1 - (int)(BitConverter.SingleToUInt32Bits((float)cost) >> 20);

    // Multiply-adds of one key head and its query heads, with the copies in the same currency.
    private static double Cost(in AttentionProblem problem, in AttentionSequence sequence, int group)
    {
        int queries = sequence.QueryLength, keys = sequence.KeyLength, shift = problem.Shift(sequence);
        (int firstOfFirst, int endOfFirst) = problem.Window.Range(0, shift, keys);
        (int firstOfLast, int endOfLast) = problem.Window.Range(Math.Max(queries - 1, 0), shift, keys);
        (int firstOfMiddle, int endOfMiddle) = problem.Window.Range(queries / 2, shift, keys);
        // Simpson's rule: near enough for balancing, and it costs the same for any length.
        double visible = ((endOfFirst - firstOfFirst) + (4.0 * (endOfMiddle - firstOfMiddle)) + (endOfLast - firstOfLast)) / 6;
        return (2.0 * problem.HeadDim * group * queries * (visible + 16)) + (32.0 * problem.HeadDim * keys) + 1000;
    }

    private void Add(in AttentionUnit unit, double cost)
    {
        Reserve(ref _units, ref _unitCapacity, UnitCount + 1L);
        _units[UnitCount++] = unit;
        if (_openCost >= TaskGrain)
        {
            Reserve(ref _taskEnds, ref _taskCapacity, TaskCount + 1L);
            TaskCount++;
            _openCost = 0;
        }
        _openCost += cost;
        _taskEnds[TaskCount - 1] = UnitCount;
    }

    private static void Reserve<T>(ref T* memory, ref long capacity, long count) where T : unmanaged
    {
        if (count <= capacity) return;
        long size = Math.Max(256, Math.Max(count, 2 * capacity));
        memory = (T*)NativeMemory.Realloc(memory, checked((nuint)size * (nuint)sizeof(T)));
        capacity = size;
    }

    ~AttentionPlan()
    {
        NativeMemory.Free(_units);
        NativeMemory.Free(_taskEnds);
        NativeMemory.Free(_order);
        NativeMemory.Free(_progress);
    }
}
