using System.Runtime.InteropServices;

namespace Varlen.Backends.Cpu;

/// <summary>The CPU. Each op's kernels are in the op's own <c>.Cpu.cs</c> file, as a part of this class.</summary>
internal sealed unsafe partial class CpuBackend : Backend
{
    public static CpuBackend Instance { get; } = new();

    private CpuBackend() => Team = new ThreadTeam(InitialThreads());

    /// <summary>The compute threads.</summary>
    public ThreadTeam Team { get; private set; }

    public override string Name => "cpu";

    public override Allocator Allocator { get; set; } = new PooledAllocator();

    /// <summary>Replaces the team by one of another size. Not to be called while kernels run.</summary>
    public void Resize(int threads)
    {
        if (threads == Team.Size) return;
        ThreadTeam old = Team;
        Team = new ThreadTeam(threads);
        old.Dispose();
    }

    public override void CopyFromHost(nint source, nint destination, long bytes) => Copy(source, destination, bytes);

    public override void CopyToHost(nint source, nint destination, long bytes) => Copy(source, destination, bytes);

    public override void Copy(nint source, nint destination, long bytes) => NativeMemory.Copy((void*)source, (void*)destination, (nuint)bytes);

    public override void FillBytes(nint destination, byte value, long bytes) => NativeMemory.Fill((void*)destination, (nuint)bytes, value);

    public override PendingRead StartRead(nint source, int bytes) => new FinishedRead(new ReadOnlySpan<byte>((void*)source, bytes).ToArray());

    public override void Synchronize()
    {
    }

    private static int InitialThreads()
        => int.TryParse(Environment.GetEnvironmentVariable("VARLEN_THREADS"), out int threads) && threads is >= 1 and <= 1024
            ? threads : Environment.ProcessorCount;

    private sealed class FinishedRead(byte[] bytes) : PendingRead
    {
        public override bool IsReady => true;

        public override void Wait(Span<byte> destination) => bytes.CopyTo(destination);

        public override void Abandon()
        {
        }
    }
}
