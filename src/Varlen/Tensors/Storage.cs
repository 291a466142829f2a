using System.Collections.Concurrent;
using Varlen.Backends;

namespace Varlen;

/// <summary>
/// A block of device memory, shared by reference count: tensors and their views, saved values of the autograd graph and gradient
/// buffers each hold one count. The only class of the library with a finalizer, which is the safety net and counts as a leak.
/// </summary>
internal class Storage
{
    private static readonly ConcurrentQueue<(Allocator Allocator, nint Pointer, long Bytes)> Orphans = new();

    private readonly Allocator _allocator;
    private readonly string? _madeAt = MemoryDiagnostics.TraceAllocations ? Environment.StackTrace : null;
    private int _references = 1;

    public Storage(Backend backend, long bytes)
    {
        Backend = backend;
        Bytes = bytes;
        _allocator = backend.Allocator;
        FreeOrphans();
        Pointer = bytes == 0 ? 0 : _allocator.Allocate(bytes);
        MemoryDiagnostics.Allocated(this);
    }

    ~Storage()
    {
        // No device call on the finalizer's thread: the block waits for the next allocation.
        if (Pointer == 0) return;
        MemoryDiagnostics.Leaked(Bytes, _madeAt);
        Orphans.Enqueue((_allocator, Pointer, Bytes));
    }

    public Backend Backend { get; }

    /// <summary>Address on the device; 0 for an empty block and after release.</summary>
    public nint Pointer { get; private set; }

    public long Bytes { get; }

    /// <summary>Raised by every in-place write, so that a backward pass can tell that a saved value has changed.</summary>
    public int Version { get; private set; }

    /// <summary>Gradient slots whose buffer this is: more than one when a gradient was passed on without a copy.</summary>
    public int GradientOwners { get; set; }

    public void MarkWritten() => Version++;

    /// <summary>Gives back what the garbage collector found; on the thread of whoever allocates, never on the finalizer's.</summary>
    public static void FreeOrphans()
    {
        while (Orphans.TryDequeue(out var orphan)) orphan.Allocator.Free(orphan.Pointer, orphan.Bytes);
    }

    public Storage Retain()
    {
        Interlocked.Increment(ref _references);
        return this;
    }

    [System.Diagnostics.CodeAnalysis.SuppressMessage("Usage", "CA1816", Justification = "The last count is this type's disposal.")]
    public void Release()
    {
        if (Interlocked.Decrement(ref _references) != 0) return;
        GC.SuppressFinalize(this);
        MemoryDiagnostics.Freed(Bytes);
        if (Pointer != 0) _allocator.Free(Pointer, Bytes);
        Pointer = 0;
    }
}
