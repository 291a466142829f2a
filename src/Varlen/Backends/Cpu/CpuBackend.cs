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

    public override void CopyFromHost(ReadOnlySpan<byte> source, nint destination) => source.CopyTo(new Span<byte>((void*)destination, source.Length));

    public override void CopyToHost(nint source, Span<byte> destination) => new ReadOnlySpan<byte>((void*)source, destination.Length).CopyTo(destination);

    public override void Copy(nint source, nint destination, long bytes) => NativeMemory.Copy((void*)source, (void*)destination, (nuint)bytes);

    public override void Synchronize()
    {
    }

    private static int InitialThreads()
        => int.TryParse(Environment.GetEnvironmentVariable("VARLEN_THREADS"), out int threads) && threads is >= 1 and <= 1024
            ? threads : Environment.ProcessorCount;
}
