using System.Globalization;
using Varlen.Backends.Cuda.Native;

namespace Varlen.Backends.Cuda.Memory;

/// <summary>
/// Device memory: blocks of segments that come from the driver's stream-ordered pool and are kept, so that a step that is like the one before calls
/// the driver for no memory. A block that is freed behind a kernel is given out again to the work after it, without a wait: everything runs on the
/// device's one stream, in the program's order.
/// </summary>
internal sealed unsafe class CudaAllocator : Allocator, ISegmentSource
{
    private readonly CudaBackend _backend;
    private readonly nint _pool;
    private readonly Lock _gate = new();
    // None: every block is the driver's own.
    private readonly SegmentHeap? _heap;

    public CudaAllocator(CudaBackend backend, bool keepsSegments)
    {
        _backend = backend;
        backend.Check(Driver.DeviceGetDefaultMemPool(out _pool, backend.Info.Handle), "cuDeviceGetDefaultMemPool");
        // The pool keeps what is released, unless that is whole segments, which nothing may need again.
        ulong keep = keepsSegments ? 0 : ulong.MaxValue;
        backend.Check(Driver.MemPoolSetAttribute(_pool, MemoryPoolAttribute.ReleaseThreshold, &keep), "cuMemPoolSetAttribute");
        if (keepsSegments) _heap = new SegmentHeap(this);
    }

    /// <summary>
    /// Whether devices that are opened from now on keep segments. Not with VARLEN_SYNC=1: tools that check accesses see more when every tensor is an
    /// allocation of the driver's.
    /// </summary>
    public static bool KeepsSegments { get; set; } = Environment.GetEnvironmentVariable("VARLEN_SYNC") != "1";

    /// <summary>Most bytes in use at a time since the last <see cref="ResetPeak"/>.</summary>
    public long PeakBytes => Read(heap => heap.PeakBytes, MemoryPoolAttribute.UsedHigh);

    /// <summary>Bytes in use.</summary>
    public long UsedBytes => Read(heap => heap.UsedBytes, MemoryPoolAttribute.UsedCurrent);

    /// <summary>Bytes that are taken from the device.</summary>
    public long ReservedBytes => Read(heap => heap.ReservedBytes, MemoryPoolAttribute.ReservedCurrent);

    public void ResetPeak()
    {
        if (_heap is not null)
        {
            lock (_gate) _heap.ResetPeak();
            return;
        }
        ulong zero = 0;
        _backend.Check(Driver.MemPoolSetAttribute(_pool, MemoryPoolAttribute.UsedHigh, &zero), "cuMemPoolSetAttribute");
    }

    public override nint Allocate(long bytes)
    {
        _backend.EnsureCurrent();
        if (_backend.IsCapturing) _backend.RefuseInCapture($"it takes {bytes} bytes of memory that are not the step's");
        nint pointer = TryAllocate(bytes);
        if (pointer != 0) return pointer;
        // What the garbage collector holds and what is kept in pieces may be enough.
        GC.Collect();
        GC.WaitForPendingFinalizers();
        Storage.FreeOrphans();
        if (_heap is not null)
            lock (_gate) _heap.ReturnUnused();
        _backend.Synchronize();
        _backend.Check(Driver.MemPoolTrimTo(_pool, 0), "cuMemPoolTrimTo");
        pointer = TryAllocate(bytes);
        return pointer != 0 ? pointer : throw new OutOfDeviceMemoryException(Explain(bytes));
    }

    public override void Free(nint pointer, long bytes)
    {
        // A lost device has given everything up already; there is nobody to tell.
        if (_backend.IsLost || _backend.DefersFree(pointer, bytes)) return;
        if (_heap is null)
        {
            Return(pointer, bytes);
            return;
        }
        lock (_gate) _heap.Free(pointer);
    }

    /// <summary>Memory of the driver's, in order with the stream; 0 when there is no room.</summary>
    public nint Take(long bytes)
    {
        CudaResult result = Driver.MemAllocAsync(out nint pointer, (nuint)bytes, _backend.Stream);
        return result switch
        {
            CudaResult.Success => pointer,
            CudaResult.OutOfMemory => 0,
            _ => throw _backend.Failure(result, "cuMemAllocAsync"),
        };
    }

    /// <summary>Gives memory of the driver's back, behind what was started before.</summary>
    public void Return(nint segment, long bytes)
    {
        _backend.EnsureCurrent();
        CudaResult result = Driver.MemFreeAsync(segment, _backend.Stream);
        if (result != CudaResult.Success) _backend.NoteFailure(result);
    }

    private nint TryAllocate(long bytes)
    {
        if (_heap is null) return Take(bytes);
        lock (_gate) return _heap.Allocate(bytes);
    }

    private string Explain(long bytes)
    {
        long used = UsedBytes, reserved = ReservedBytes;
        Driver.MemGetInfo(out nuint free, out nuint total);
        long others = Math.Max(0, (long)total - (long)free - reserved);
        return string.Create(CultureInfo.InvariantCulture,
            $"{_backend.Name} ({_backend.Info.Name}) has no room for {Size(bytes)}: of {Size((long)total)}, tensors hold {Size(used)}, {Size((long)free + reserved - used)} are free but perhaps in pieces, and other programs and the driver hold {Size(others)}; lower the tokens of a batch (--batch-tokens), the context or the model, or compute in bf16");
    }

    private static string Size(long bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1 << 30):F2} GiB");

    private long Read(Func<SegmentHeap, long> statistic, MemoryPoolAttribute attribute)
    {
        if (_heap is not null)
            lock (_gate) return statistic(_heap);
        ulong value = 0;
        _backend.EnsureCurrent();
        _backend.Check(Driver.MemPoolGetAttribute(_pool, attribute, &value), "cuMemPoolGetAttribute");
        return (long)value;
    }
}
