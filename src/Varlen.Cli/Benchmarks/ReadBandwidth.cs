using System.Diagnostics;
using System.Numerics;
using Varlen.Backends.Cpu;

namespace Varlen.Cli.Benchmarks;

/// <summary>What plain reading of a large block achieves on this machine at this moment: the yardstick of what reads all weights once.</summary>
internal sealed unsafe class ReadBandwidth : IDisposable
{
    private const long Piece = 1 << 20;
    private readonly long _bytes;
    private readonly byte* _memory;

    /// <param name="bytes">Size of the block, larger than every cache.</param>
    public ReadBandwidth(long bytes)
    {
        _bytes = bytes / Piece * Piece;
        _memory = (byte*)NativeBlock.Allocate(_bytes, 4096);
        new Span<byte>(_memory, checked((int)_bytes)).Fill(1);
    }

    /// <summary>Reads with all threads of the CPU's team until some time has passed.</summary>
    /// <param name="leastSeconds">Much longer than a tick of the clock.</param>
    /// <returns>Bytes per second.</returns>
    public double Measure(double leastSeconds)
    {
        var pieces = new Sum { Memory = _memory };
        long start = Stopwatch.GetTimestamp();
        double seconds, bytes = 0;
        do
        {
            CpuBackend.Instance.Team.For(_bytes / Piece, ref pieces);
            bytes += _bytes;
            seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        }
        while (seconds < leastSeconds);
        return bytes / seconds;
    }

    public void Dispose() => NativeBlock.Free(_memory);

    private struct Sum : IParallelItems
    {
        public byte* Memory;
        private float _sum;

        public void Invoke(long item, int worker)
        {
            var floats = (float*)(Memory + item * Piece);
            Vector<float> a = default, b = default, c = default, d = default;
            for (long i = 0; i < Piece / sizeof(float); i += 4 * Vector<float>.Count)
            {
                a += Vector.Load(floats + i);
                b += Vector.Load(floats + i + Vector<float>.Count);
                c += Vector.Load(floats + i + 2 * Vector<float>.Count);
                d += Vector.Load(floats + i + 3 * Vector<float>.Count);
            }
            // Kept, so that nothing is left out; which thread's does not matter.
            _sum = Vector.Sum(a + b + c + d);
        }
    }
}
