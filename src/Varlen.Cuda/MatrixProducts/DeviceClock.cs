using Varlen.Backends.Cuda.Native;

namespace Varlen.Backends.Cuda.MatrixProducts;

/// <summary>Times work on the device. Stopping waits for it.</summary>
internal sealed class DeviceClock : IDisposable
{
    private const uint WithTiming = 0;

    private readonly CudaBackend _backend;
    private readonly nint _start, _end;

    public DeviceClock(CudaBackend backend)
    {
        _backend = backend;
        backend.Check(Driver.EventCreate(out _start, WithTiming), "cuEventCreate");
        backend.Check(Driver.EventCreate(out _end, WithTiming), "cuEventCreate");
    }

    public void Start() => _backend.Check(Driver.EventRecord(_start, _backend.Stream), "cuEventRecord");

    /// <summary>Milliseconds since <see cref="Start"/>.</summary>
    public float Stop()
    {
        _backend.Check(Driver.EventRecord(_end, _backend.Stream), "cuEventRecord");
        _backend.CountWait();
        _backend.Check(Driver.EventSynchronize(_end), "timing a matrix product");
        _backend.Check(Driver.EventElapsedTime(out float milliseconds, _start, _end), "cuEventElapsedTime");
        return milliseconds;
    }

    public void Dispose()
    {
        Driver.EventDestroy(_start);
        Driver.EventDestroy(_end);
    }
}
