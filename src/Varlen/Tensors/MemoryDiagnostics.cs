namespace Varlen;

/// <summary>Counts of tensor memory over the whole process. Counting costs an interlocked addition per tensor.</summary>
public static class MemoryDiagnostics
{
    private static readonly System.Collections.Concurrent.ConcurrentQueue<string> LeakTraces = new();
    private static long s_liveBytes, s_peakBytes, s_liveCount, s_leakedCount, s_leakedBytes;

    /// <summary>Bytes of tensor storage in use.</summary>
    public static long LiveBytes => Interlocked.Read(ref s_liveBytes);

    /// <summary>The most that <see cref="LiveBytes"/> has been since the last <see cref="ResetPeak"/>.</summary>
    public static long PeakBytes => Interlocked.Read(ref s_peakBytes);

    /// <summary>Storages in use.</summary>
    public static long LiveCount => Interlocked.Read(ref s_liveCount);

    /// <summary>Storages that nobody released and the garbage collector had to: each one is a missing scope or Dispose.</summary>
    public static long LeakedCount => Interlocked.Read(ref s_leakedCount);

    /// <summary>Bytes of the storages in <see cref="LeakedCount"/>.</summary>
    public static long LeakedBytes => Interlocked.Read(ref s_leakedBytes);

    /// <summary>Remembers where each storage is made, at the price of a stack trace per tensor, so that <see cref="Leaks"/> can tell. Off at first.</summary>
    public static bool TraceAllocations { get; set; }

    /// <summary>Where the leaked storages were made: stack traces, of those that were made while <see cref="TraceAllocations"/> was on.</summary>
    public static IReadOnlyCollection<string> Leaks => LeakTraces;

    /// <summary>Fills new storage with NaN bits, so that a kernel which reads what it never wrote is found out. Used by tests.</summary>
    internal static bool PoisonNewMemory { get; set; }

    /// <summary>Starts <see cref="PeakBytes"/> anew from the present use.</summary>
    public static void ResetPeak() => Interlocked.Exchange(ref s_peakBytes, LiveBytes);

    internal static void Allocated(Storage storage)
    {
        Interlocked.Increment(ref s_liveCount);
        long live = Interlocked.Add(ref s_liveBytes, storage.Bytes);
        for (long peak; live > (peak = PeakBytes) && Interlocked.CompareExchange(ref s_peakBytes, live, peak) != peak;)
        {
        }
        if (PoisonNewMemory && storage.Bytes > 0) storage.Backend.FillBytes(storage.Pointer, 0xFF, storage.Bytes);
    }

    internal static void Freed(long bytes)
    {
        Interlocked.Decrement(ref s_liveCount);
        Interlocked.Add(ref s_liveBytes, -bytes);
    }

    internal static void Leaked(long bytes, string? madeAt)
    {
        if (madeAt is not null) LeakTraces.Enqueue(madeAt);
        Freed(bytes);
        Interlocked.Increment(ref s_leakedCount);
        Interlocked.Add(ref s_leakedBytes, bytes);
    }
}
