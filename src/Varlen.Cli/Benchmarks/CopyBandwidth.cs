using System.Diagnostics;
using System.Runtime.InteropServices;
using Varlen.Backends.Cpu;

namespace Varlen.Cli.Benchmarks;

/// <summary>
/// What a plain copy of a large block achieves on this machine at this moment: the yardstick of every memory-bound step.
/// Bytes count once when read and once when written.
/// </summary>
internal sealed unsafe class CopyBandwidth : IDisposable
{
    private readonly long _bytes;
    private readonly byte* _memory;

    /// <param name="bytes">Size of the block, as large as the operands it stands beside.</param>
    public CopyBandwidth(long bytes)
    {
        _bytes = bytes;
        _memory = (byte*)NativeMemory.AlignedAlloc((nuint)(2 * bytes), 4096);
        for (long i = 0; i < 2 * bytes; i += 4096) _memory[i] = 1;
    }

    /// <summary>Copies with all threads of the CPU's team until some time has passed.</summary>
    /// <param name="leastSeconds">Much longer than a tick of the clock.</param>
    /// <returns>Bytes per second, read and written together.</returns>
    public double Measure(double leastSeconds)
    {
        var body = new Copy { Source = _memory, Destination = _memory + _bytes, Bytes = _bytes };
        long start = Stopwatch.GetTimestamp();
        double seconds, bytes = 0;
        do
        {
            CpuBackend.Instance.Team.Run(ref body);
            bytes += 2.0 * _bytes;
            seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        }
        while (seconds < leastSeconds);
        return bytes / seconds;
    }

    public void Dispose() => NativeMemory.AlignedFree(_memory);

    private struct Copy : IParallelBody
    {
        public byte* Source, Destination;
        public long Bytes;

        public void Invoke(int worker, int workers)
        {
            long begin = Bytes * worker / workers, end = Bytes * (worker + 1) / workers;
            NativeMemory.Copy(Source + begin, Destination + begin, (nuint)(end - begin));
        }
    }
}
