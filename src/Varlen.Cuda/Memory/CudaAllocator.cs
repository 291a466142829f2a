using System.Globalization;
using Varlen.Backends.Cuda.Native;

namespace Varlen.Backends.Cuda.Memory;

/// <summary>
/// Device memory from the driver's stream-ordered pool, which keeps what is released: a block freed behind a kernel is given out again to
/// the work after it, without a wait. Because everything runs on the device's one stream, that order is the program's.
/// </summary>
internal sealed unsafe class CudaAllocator : Allocator
{
    private readonly CudaBackend _backend;
    private readonly nint _pool;

    public CudaAllocator(CudaBackend backend)
    {
        _backend = backend;
        backend.Check(Driver.DeviceGetDefaultMemPool(out _pool, backend.Info.Handle), "cuDeviceGetDefaultMemPool");
        ulong keep = ulong.MaxValue;
        backend.Check(Driver.MemPoolSetAttribute(_pool, MemoryPoolAttribute.ReleaseThreshold, &keep), "cuMemPoolSetAttribute");
    }

    /// <summary>Most bytes in use at a time since the last <see cref="ResetPeak"/>.</summary>
    public long PeakBytes => Read(MemoryPoolAttribute.UsedHigh);

    /// <summary>Bytes in use.</summary>
    public long UsedBytes => Read(MemoryPoolAttribute.UsedCurrent);

    /// <summary>Bytes that the pool has taken from the device.</summary>
    public long ReservedBytes => Read(MemoryPoolAttribute.ReservedCurrent);

    public void ResetPeak()
    {
        ulong zero = 0;
        _backend.Check(Driver.MemPoolSetAttribute(_pool, MemoryPoolAttribute.UsedHigh, &zero), "cuMemPoolSetAttribute");
    }

    public override nint Allocate(long bytes)
    {
        _backend.EnsureCurrent();
        _backend.RefuseInCapture($"it takes {bytes} bytes of memory that are not the step's");
        CudaResult result = Driver.MemAllocAsync(out nint pointer, (nuint)bytes, _backend.Stream);
        if (result == CudaResult.Success) return pointer;
        if (result != CudaResult.OutOfMemory) throw _backend.Failure(result, "cuMemAllocAsync");
        // What the garbage collector holds and what the pool keeps in pieces may be enough.
        GC.Collect();
        GC.WaitForPendingFinalizers();
        Storage.FreeOrphans();
        _backend.Synchronize();
        _backend.Check(Driver.MemPoolTrimTo(_pool, 0), "cuMemPoolTrimTo");
        result = Driver.MemAllocAsync(out pointer, (nuint)bytes, _backend.Stream);
        if (result == CudaResult.Success) return pointer;
        if (result != CudaResult.OutOfMemory) throw _backend.Failure(result, "cuMemAllocAsync");
        throw new OutOfDeviceMemoryException(Explain(bytes));
    }

    public override void Free(nint pointer, long bytes)
    {
        // A lost device has given everything up already; there is nobody to tell.
        if (_backend.IsLost || _backend.DefersFree(pointer, bytes)) return;
        _backend.EnsureCurrent();
        CudaResult result = Driver.MemFreeAsync(pointer, _backend.Stream);
        if (result != CudaResult.Success) _backend.NoteFailure(result);
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

    private long Read(MemoryPoolAttribute attribute)
    {
        ulong value = 0;
        _backend.EnsureCurrent();
        _backend.Check(Driver.MemPoolGetAttribute(_pool, attribute, &value), "cuMemPoolGetAttribute");
        return (long)value;
    }
}
