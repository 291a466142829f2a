using Varlen.Backends.Cuda.Native;

namespace Varlen.Backends.Cuda.Memory;

/// <summary>A few bytes on their way to the host, behind an event.</summary>
internal sealed unsafe class CudaPendingRead : PendingRead
{
    private readonly CudaBackend _backend;
    private readonly nint _host, _done;
    private readonly int _bytes;

    public CudaPendingRead(CudaBackend backend, nint source, int bytes)
    {
        (_backend, _bytes) = (backend, bytes);
        (_host, _done) = backend.RentRead(bytes);
        backend.Check(Driver.CopyDeviceToHost(_host, source, (nuint)bytes, backend.Stream), "cuMemcpyDtoHAsync");
        backend.Check(Driver.EventRecord(_done, backend.Stream), "cuEventRecord");
    }

    public override bool IsReady => Driver.EventQuery(_done) == CudaResult.Success;

    public override void Wait(Span<byte> destination)
    {
        if (!IsReady) _backend.CountWait();
        _backend.Check(Driver.EventSynchronize(_done), "cuEventSynchronize");
        new ReadOnlySpan<byte>((void*)_host, _bytes).CopyTo(destination);
        _backend.ReturnRead(_host, _done);
    }

    public override void Abandon()
    {
        // A lost device writes no more, and its memory is not used again.
        if (Driver.EventSynchronize(_done) == CudaResult.Success) _backend.ReturnRead(_host, _done);
    }
}
