namespace Varlen.Backends;

/// <summary>
/// Where a backend's memory comes from. Replaceable per backend: a pool by default; a fixed arena, say, for a captured step.
/// </summary>
/// <remarks>Thread-safe.</remarks>
internal abstract class Allocator
{
    /// <summary>Reserves at least <paramref name="bytes"/> bytes, uninitialised, aligned for the widest vector loads.</summary>
    /// <exception cref="OutOfMemoryException">The memory is not to be had.</exception>
    public abstract nint Allocate(long bytes);

    /// <summary>Takes back what <see cref="Allocate"/> gave for the same size.</summary>
    public abstract void Free(nint pointer, long bytes);
}
