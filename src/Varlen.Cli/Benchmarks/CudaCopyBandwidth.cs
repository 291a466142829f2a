using Varlen.Backends.Cuda;

namespace Varlen.Cli.Benchmarks;

/// <summary>A plain copy within a device's memory, which reads and writes as many bytes.</summary>
internal sealed class CudaCopyBandwidth : IDisposable
{
    private const int CopiesPerSample = 4;
    private readonly CudaBackend _backend;
    private readonly CudaTimer _timer;
    private readonly nint _source, _destination;
    private readonly long _bytes;

    public CudaCopyBandwidth(CudaBackend backend, CudaTimer timer, long bytes)
    {
        (_backend, _timer, _bytes) = (backend, timer, bytes);
        (_source, _destination) = (backend.Allocator.Allocate(bytes), backend.Allocator.Allocate(bytes));
        backend.FillBytes(_source, 1, bytes);
    }

    /// <summary>Bytes read and written per second.</summary>
    public double Measure(double seconds)
    {
        double milliseconds = _timer.Measure(() =>
        {
            for (int i = 0; i < CopiesPerSample; i++) _backend.Copy(_source, _destination, _bytes);
        });
        return CopiesPerSample * 2.0 * _bytes / milliseconds * 1e3;
    }

    public void Dispose()
    {
        _backend.Allocator.Free(_source, _bytes);
        _backend.Allocator.Free(_destination, _bytes);
    }
}
