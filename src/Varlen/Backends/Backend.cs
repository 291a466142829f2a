namespace Varlen.Backends;

/// <summary>
/// A kind of device: memory and copies. The kernels are not members here: each op has an interface of its own, which the
/// concrete backend implements in the op's file (a partial class), so that a new op edits no list.
/// </summary>
internal abstract unsafe class Backend
{
    /// <summary>Most that <see cref="StartRead"/> takes.</summary>
    public const int FewBytes = 256;

    /// <summary>As users write it: "cpu", "cuda:1".</summary>
    public abstract string Name { get; }

    /// <summary>Source of this backend's memory. A replacement serves later allocations; earlier ones go back where they came from.</summary>
    public abstract Allocator Allocator { get; set; }

    /// <summary>
    /// Whether results must not depend on the batch or the run, at a price where the fastest kernels do not promise it. The CPU's never depend on them.
    /// </summary>
    public bool Deterministic { get; set; }

    /// <summary>Copies host memory to this backend, in order with its work; the source may change as soon as this returns.</summary>
    public abstract void CopyFromHost(nint source, nint destination, long bytes);

    /// <summary>Copies this backend's memory to the host and waits for it.</summary>
    public abstract void CopyToHost(nint source, nint destination, long bytes);

    /// <summary>Copies within this backend.</summary>
    public abstract void Copy(nint source, nint destination, long bytes);

    /// <summary>Sets every byte.</summary>
    public abstract void FillBytes(nint destination, byte value, long bytes);

    /// <summary>Reads a few bytes as they are when the work started so far is done, without waiting for that.</summary>
    public abstract PendingRead StartRead(nint source, int bytes);

    /// <summary>What records steps, to start each again as a whole; null where nothing is gained by that, as where work is done when it is asked for.</summary>
    public virtual Recorder? MakeRecorder() => null;

    /// <summary>Waits for everything started so far.</summary>
    public abstract void Synchronize();

    /// <inheritdoc cref="CopyFromHost(nint, nint, long)"/>
    public void CopyFromHost(ReadOnlySpan<byte> source, nint destination)
    {
        fixed (byte* p = source) CopyFromHost((nint)p, destination, source.Length);
    }

    /// <inheritdoc cref="CopyToHost(nint, nint, long)"/>
    public void CopyToHost(nint source, Span<byte> destination)
    {
        fixed (byte* p = destination) CopyToHost(source, (nint)p, destination.Length);
    }
}

/// <summary>A few bytes of device memory on their way to the host. Must be waited for, or abandoned, once.</summary>
internal abstract class PendingRead
{
    /// <summary>Whether <see cref="Wait"/> would return at once.</summary>
    public abstract bool IsReady { get; }

    /// <summary>Waits until the bytes have arrived, and gives them.</summary>
    public abstract void Wait(Span<byte> destination);

    /// <summary>In place of <see cref="Wait"/>, when nobody wants the bytes any more. Never fails.</summary>
    public abstract void Abandon();
}
