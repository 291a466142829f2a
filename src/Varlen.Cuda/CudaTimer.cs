using Varlen.Backends.Cuda.Native;

namespace Varlen.Backends.Cuda;

/// <summary>Time on the device between two points of its stream, by events.</summary>
internal sealed class CudaTimer : IDisposable
{
    private const uint EventWithTiming = 0;
    // Filling this takes some 80 microseconds at the bandwidth of a large GPU, in which the host starts some 20 kernels.
    private const long BusyBytes = 256 << 20;

    private readonly CudaBackend _backend;
    private readonly nint _start, _end;
    private nint _busy;

    public CudaTimer(CudaBackend backend)
    {
        _backend = backend;
        backend.EnsureCurrent();
        backend.Check(Driver.EventCreate(out _start, EventWithTiming), "cuEventCreate");
        backend.Check(Driver.EventCreate(out _end, EventWithTiming), "cuEventCreate");
    }

    /// <summary>Milliseconds of some work on the device alone: the host starts it while the device is kept busy, so gaps between launches do not count.</summary>
    /// <param name="work">Starts it, and does not wait.</param>
    /// <param name="busy">How many times the device is made to fill memory first; the host has about 80 microseconds for each.</param>
    public double Measure(Action work, int busy = 8)
    {
        if (_busy == 0) _busy = _backend.Allocator.Allocate(BusyBytes);
        for (int i = 0; i < busy; i++) _backend.FillBytes(_busy, 0, BusyBytes);
        Start();
        work();
        return Stop();
    }

    /// <summary>Marks the present point of the stream.</summary>
    public void Start() => _backend.Check(Driver.EventRecord(_start, _backend.Stream), "cuEventRecord");

    /// <summary>Milliseconds since <see cref="Start"/>. Waits for the device.</summary>
    public float Stop()
    {
        _backend.Check(Driver.EventRecord(_end, _backend.Stream), "cuEventRecord");
        _backend.CountWait();
        _backend.Check(Driver.EventSynchronize(_end), "cuEventSynchronize");
        _backend.Check(Driver.EventElapsedTime(out float milliseconds, _start, _end), "cuEventElapsedTime");
        return milliseconds;
    }

    public void Dispose()
    {
        if (_busy != 0) _backend.Allocator.Free(_busy, BusyBytes);
        if (_backend.IsLost) return;
        Driver.EventDestroy(_start);
        Driver.EventDestroy(_end);
    }
}
