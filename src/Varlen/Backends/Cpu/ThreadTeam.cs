using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;

namespace Varlen.Backends.Cpu;

/// <summary>Work that every member of a <see cref="ThreadTeam"/> runs once.</summary>
internal interface IParallelBody
{
    /// <summary>Runs one worker's share.</summary>
    /// <param name="worker">This worker, 0 to <paramref name="workers"/> - 1; 0 is the calling thread.</param>
    /// <param name="workers">How many take part.</param>
    void Invoke(int worker, int workers);
}

/// <summary>Work split into independent items that idle workers take in order.</summary>
internal interface IParallelItems
{
    /// <summary>Runs one item.</summary>
    void Invoke(long item, int worker);
}

/// <summary>
/// The one pool of compute threads of a process: they spin briefly for the next job, then park.
/// A fork and join costs a fraction of a microsecond while the team is awake, which is what lets small kernels use two cores.
/// Results never depend on the number of workers: bodies split work by output, not by partial sums.
/// </summary>
/// <remarks>A job started from within a job, or while another thread's job runs, is run by its caller alone.</remarks>
internal sealed unsafe class ThreadTeam : IDisposable
{
    // Some tens of microseconds: longer than the gap between two kernels of a step, shorter than a scheduler tick.
    private const int SpinsBeforePark = 2000;

    [ThreadStatic] private static bool t_inside;

    private readonly Thread[] _threads;
    private readonly SemaphoreSlim[] _wake;
    private readonly int[] _parked;
    // Per worker the job that waits for it, 0 once the worker has begun it or the starter has done without it.
    private readonly long[] _claims;
    private readonly Lock _busy = new();
    private delegate*<void*, int, int, void> _invoke;
    private void* _body;
    private ExceptionDispatchInfo? _failure;
    // Sequence number and worker count in one word, so that a worker left out of a job can never mistake the next one for it.
    private long _job;
    private volatile bool _stop;
    private int _running;
    private int _barrierCount;
    private volatile int _barrierPhase;

    public ThreadTeam(int size)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1);
        Size = size;
        _threads = new Thread[size - 1];
        _wake = new SemaphoreSlim[size - 1];
        _parked = new int[size - 1];
        _claims = new long[size - 1];
        for (int i = 0; i < _threads.Length; i++)
        {
            int worker = i + 1;
            _wake[i] = new SemaphoreSlim(0);
            _threads[i] = new Thread(() => Work(worker)) { IsBackground = true, Name = $"Varlen worker {worker}" };
            _threads[i].Start();
        }
    }

    /// <summary>Threads that can take part in a job, the caller included.</summary>
    public int Size { get; }

    /// <summary>Runs <paramref name="body"/> on up to <paramref name="limit"/> workers and returns when all have finished.</summary>
    /// <param name="body">A local of the caller: workers reach it through its address on the caller's stack.</param>
    /// <param name="limit">Most workers worth waking for this job.</param>
    public void Run<TBody>(ref TBody body, int limit = int.MaxValue) where TBody : struct, IParallelBody => Start(ref body, limit, needsAll: true);

    /// <param name="body">The job.</param>
    /// <param name="limit">Most workers worth waking.</param>
    /// <param name="needsAll">Every worker has a share of its own. Otherwise, once the starter's part has returned, nobody waits for workers that have not begun: on a machine busy with other work they may get no core for a long time.</param>
    [SuppressMessage("Design", "CA1031", Justification = "A worker's exception is rethrown on the caller.")]
    private void Start<TBody>(ref TBody body, int limit, bool needsAll) where TBody : struct, IParallelBody
    {
        ObjectDisposedException.ThrowIf(_stop, this);
        int workers = Math.Min(Size, limit);
        if (workers <= 1 || t_inside || !_busy.TryEnter())
        {
            body.Invoke(0, 1);
            return;
        }
        try
        {
            _body = Unsafe.AsPointer(ref body);
            _invoke = &InvokeBody<TBody>;
            _failure = null;
            _barrierCount = 0;
            Volatile.Write(ref _running, workers - 1);
            long job = Next(workers);
            for (int i = 0; i < workers - 1; i++) Volatile.Write(ref _claims[i], job);
            Interlocked.Exchange(ref _job, job);
            for (int i = 0; i < workers - 1; i++)
                if (Interlocked.Exchange(ref _parked[i], 0) == 1) _wake[i].Release();
            t_inside = true;
            try { body.Invoke(0, workers); }
            catch (Exception e) { Fail(e); }
            t_inside = false;
            for (int i = 0; i < workers - 1 && !needsAll; i++)
                if (Interlocked.CompareExchange(ref _claims[i], 0, job) == job) Interlocked.Decrement(ref _running);
            for (int spin = 0; Volatile.Read(ref _running) != 0; spin++) Pause(spin);
            _failure?.Throw();
        }
        finally
        {
            _busy.Exit();
        }
    }

    /// <summary>Runs items 0 to <paramref name="count"/> - 1, each once, handed out in order to whichever worker is free.</summary>
    public void For<TItems>(long count, ref TItems items, int limit = int.MaxValue) where TItems : struct, IParallelItems
    {
        if (count <= 0) return;
        var body = new ItemLoop<TItems> { Items = Unsafe.AsPointer(ref items), Count = count };
        Start(ref body, (int)Math.Min(limit, count), needsAll: false);
    }

    /// <summary>Waits until all workers of the current job have arrived. Every worker must call it equally often.</summary>
    public void Barrier(int workers)
    {
        if (workers <= 1) return;
        int phase = _barrierPhase;
        if (Interlocked.Increment(ref _barrierCount) == workers)
        {
            _barrierCount = 0;
            _barrierPhase = phase + 1;
            return;
        }
        for (int spin = 0; _barrierPhase == phase && Volatile.Read(ref _failure) is null; spin++) Pause(spin);
    }

    public void Dispose()
    {
        if (_stop) return;
        _stop = true;
        Interlocked.Exchange(ref _job, Next(0));
        foreach (SemaphoreSlim wake in _wake) wake.Release();
        foreach (Thread thread in _threads) thread.Join();
        foreach (SemaphoreSlim wake in _wake) wake.Dispose();
    }

    private static void InvokeBody<TBody>(void* body, int worker, int workers) where TBody : struct, IParallelBody
        => Unsafe.AsRef<TBody>(body).Invoke(worker, workers);

    /// <summary>
    /// Waits for workers that are running. Even steps, so that the end is seen at once, where <see cref="SpinWait"/> would double
    /// its pauses; after a while the thread yields, in case the one it waits for needs this core.
    /// </summary>
    private static void Pause(int spin)
    {
        if (spin < SpinsBeforePark || (spin & 15) != 0) Thread.SpinWait(1);
        else Thread.Yield();
    }

    private long Next(int workers) => (((_job >> 16) + 1) << 16) | (uint)workers;

    private void Fail(Exception e) => Interlocked.CompareExchange(ref _failure, ExceptionDispatchInfo.Capture(e), null);

    [SuppressMessage("Design", "CA1031", Justification = "A worker's exception is rethrown on the caller.")]
    private void Work(int worker)
    {
        t_inside = true;
        long job = 0;
        while (true)
        {
            job = AwaitJobAfter(job, worker - 1);
            if (_stop) return;
            int workers = (int)(job & 0xFFFF);
            if (worker >= workers || Interlocked.CompareExchange(ref _claims[worker - 1], 0, job) != job) continue;
            try { _invoke(_body, worker, workers); }
            catch (Exception e) { Fail(e); }
            Interlocked.Decrement(ref _running);
        }
    }

    private long AwaitJobAfter(long seen, int slot)
    {
        for (int spin = 0; spin < SpinsBeforePark; spin++)
        {
            long job = Volatile.Read(ref _job);
            if (job != seen) return job;
            Thread.SpinWait(1);
        }
        while (true)
        {
            // The flag goes up before the second look, so a starter either sees the flag or is seen here.
            Interlocked.Exchange(ref _parked[slot], 1);
            long job = Volatile.Read(ref _job);
            if (job == seen || Interlocked.Exchange(ref _parked[slot], 0) == 0) _wake[slot].Wait();
            job = Volatile.Read(ref _job);
            if (job != seen) return job;
        }
    }

    private struct ItemLoop<TItems> : IParallelBody where TItems : struct, IParallelItems
    {
        public void* Items;
        public long Count;
        private long _next;

        public void Invoke(int worker, int workers)
        {
            // The struct lives on the starter's stack, so all workers draw from the same counter.
            ref TItems items = ref Unsafe.AsRef<TItems>(Items);
            for (long item; (item = Interlocked.Increment(ref _next) - 1) < Count;) items.Invoke(item, worker);
        }
    }
}
