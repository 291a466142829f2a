namespace Varlen.Backends;

/// <summary>
/// A kind of device: memory and copies. The kernels are not members here: each op has an interface of its own, which the
/// concrete backend implements in the op's file (a partial class), so that a new op edits no list.
/// </summary>
internal abstract class Backend
{
    /// <summary>As users write it: "cpu", "cuda:1".</summary>
    public abstract string Name { get; }

    /// <summary>Source of this backend's memory. A replacement serves later allocations; earlier ones go back where they came from.</summary>
    public abstract Allocator Allocator { get; set; }

    /// <summary>Copies host memory to this backend.</summary>
    public abstract void CopyFromHost(ReadOnlySpan<byte> source, nint destination);

    /// <summary>Copies this backend's memory to the host and waits for it.</summary>
    public abstract void CopyToHost(nint source, Span<byte> destination);

    /// <summary>Copies within this backend.</summary>
    public abstract void Copy(nint source, nint destination, long bytes);

    /// <summary>Waits for everything started so far.</summary>
    public abstract void Synchronize();
}
