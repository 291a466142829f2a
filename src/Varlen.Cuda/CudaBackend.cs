using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Backends.Cuda.Memory;
using Varlen.Backends.Cuda.Native;

namespace Varlen.Backends.Cuda;

/// <summary>
/// A CUDA device: its context, its one stream, its memory and its kernels. Each op's launcher is in the op's own <c>.Cuda.cs</c> file, as a part of
/// this class.
/// </summary>
/// <remarks>
/// All work runs on one stream, in the order in which the program asks for it, so memory can be released as soon as the last launch that reads it is
/// under way. One thread at a time; any thread.
/// </remarks>
internal sealed unsafe partial class CudaBackend : Backend
{
    public const uint EventWithoutTiming = 2;
    private const uint StreamNonBlocking = 1;
    private const int RingBytes = 32 << 20;

    [ThreadStatic] private static CudaBackend? t_current;

    private readonly nint _context;
    private readonly UploadRing _uploads;
    private readonly Lock _uploadGate = new();
    private readonly Stack<(nint Host, nint Event)> _reads = new();
    private long _waits;

    /// <param name="info">The device.</param>
    /// <param name="keepsSegments">As <see cref="CudaAllocator.KeepsSegments"/>, for this object alone.</param>
    public CudaBackend(CudaDeviceInfo info, bool keepsSegments)
    {
        Info = info;
        Device = new Device(this);
        Check(Driver.PrimaryContextRetain(out _context, info.Handle), "cuDevicePrimaryCtxRetain");
        EnsureCurrent();
        Check(Driver.StreamCreate(out nint stream, StreamNonBlocking), "cuStreamCreate");
        Stream = stream;
        Allocator = Pool = new CudaAllocator(this, keepsSegments);
        _uploads = new UploadRing(this, RingBytes);
        Kernels = new KernelHost(info, new KernelCache($"nvrtc {CudaPlatform.OfThisMachine.CompilerVersion}", KernelCache.DefaultFolder()));
    }

    public CudaDeviceInfo Info { get; }

    public Device Device { get; }

    public override string Name => $"cuda:{Info.Index}";

    public override Allocator Allocator { get; set; }

    /// <summary>The device's memory, which tells its peak; the allocator in use unless that was replaced.</summary>
    public CudaAllocator Pool { get; }

    public nint Stream { get; }

    public KernelHost Kernels { get; }

    public int MultiprocessorCount => Info.MultiprocessorCount;

    public int SharedMemoryPerBlock => Info.SharedMemoryPerBlock;

    /// <summary>How often the program waited for the device. A training step does not.</summary>
    public long Waits => Interlocked.Read(ref _waits);

    public void CountWait() => Interlocked.Increment(ref _waits);

    /// <summary>Makes the device's context the calling thread's.</summary>
    public void EnsureCurrent()
    {
        if (IsLost) throw Lost();
        if (ReferenceEquals(t_current, this)) return;
        Check(Driver.ContextSetCurrent(_context), "cuCtxSetCurrent");
        t_current = this;
    }

    public override void CopyFromHost(nint source, nint destination, long bytes)
    {
        if (bytes == 0) return;
        EnsureCurrent();
        RefuseInCapture("it sends numbers of the host, which a replay would send again");
        lock (_uploadGate) _uploads.Send(source, destination, bytes);
    }

    public override void CopyToHost(nint source, nint destination, long bytes)
    {
        if (bytes == 0) return;
        EnsureCurrent();
        RefuseInCapture("it reads values back and waits for them");
        Check(Driver.CopyDeviceToHost(destination, source, (nuint)bytes, Stream), "cuMemcpyDtoHAsync");
        Synchronize();
    }

    public override void Copy(nint source, nint destination, long bytes)
    {
        if (bytes == 0) return;
        EnsureCurrent();
        Check(Driver.CopyDeviceToDevice(destination, source, (nuint)bytes, Stream), "cuMemcpyDtoDAsync");
    }

    public override void FillBytes(nint destination, byte value, long bytes)
    {
        if (bytes == 0) return;
        EnsureCurrent();
        Check(Driver.SetBytes(destination, value, (nuint)bytes, Stream), "cuMemsetD8Async");
    }

    public override PendingRead StartRead(nint source, int bytes)
    {
        EnsureCurrent();
        RefuseInCapture("it reads values back");
        return new CudaPendingRead(this, source, bytes);
    }

    public override void Synchronize()
    {
        EnsureCurrent();
        RefuseInCapture("it waits for the device");
        CountWait();
        Check(Driver.StreamSynchronize(Stream), "waiting for the device");
    }

    /// <summary>Sends values that are kept, in order with the stream.</summary>
    public DeviceArray Upload<T>(ReadOnlySpan<T> values) where T : unmanaged
    {
        long bytes = (long)values.Length * sizeof(T);
        if (bytes == 0) return default;
        nint pointer = Pool.Allocate(bytes);
        fixed (T* p = values) CopyFromHost((nint)p, pointer, bytes);
        return new DeviceArray(Pool, pointer, bytes);
    }

    /// <summary>Pinned memory and an event for a read of a few bytes.</summary>
    public (nint Host, nint Event) RentRead(int bytes)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bytes, FewBytes);
        lock (_reads)
            if (_reads.TryPop(out (nint Host, nint Event) rented)) return rented;
        Check(Driver.MemHostAlloc(out nint host, FewBytes, 0), "cuMemHostAlloc");
        Check(Driver.EventCreate(out nint done, EventWithoutTiming), "cuEventCreate");
        return (host, done);
    }

    public void ReturnRead(nint host, nint done)
    {
        lock (_reads) _reads.Push((host, done));
    }
}
