using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Native;

namespace Varlen.Backends.Cuda.Memory;

/// <summary>
/// Host memory that the device reads by itself, used as a ring: what is to be sent is copied here, and the program goes on. A part is used again
/// when the event behind its transfer has passed, so a batch can be written while the one before is still under way.
/// </summary>
/// <remarks>Not thread-safe; its backend locks.</remarks>
internal sealed unsafe class UploadRing
{
    private const int Alignment = 256;

    private readonly CudaBackend _backend;
    private readonly Queue<(long End, nint Event)> _busy = new();
    private readonly Stack<nint> _events = new();
    private readonly nint _memory;
    private readonly long _capacity;
    // Bytes since the beginning; the place in the ring is the remainder.
    private long _head, _tail;

    public UploadRing(CudaBackend backend, long capacity)
    {
        (_backend, _capacity) = (backend, capacity);
        backend.Check(Driver.MemHostAlloc(out _memory, (nuint)capacity, 0), "cuMemHostAlloc");
    }

    /// <summary>Sends bytes in order with the device's work. The source may change as soon as this returns.</summary>
    public void Send(nint source, nint destination, long bytes)
    {
        while (bytes > 0)
        {
            // Half of the ring at a time, so that one half can be filled while the other is sent.
            long part = Math.Min(bytes, _capacity / 2);
            nint staged = Reserve(part);
            NativeMemory.Copy((void*)source, (void*)staged, (nuint)part);
            _backend.Check(Driver.CopyHostToDevice(destination, staged, (nuint)part, _backend.Stream), "cuMemcpyHtoDAsync");
            Commit();
            (source, destination, bytes) = (source + (nint)part, destination + (nint)part, bytes - part);
        }
    }

    private nint Reserve(long bytes)
    {
        bytes = (bytes + Alignment - 1) / Alignment * Alignment;
        long place = _head % _capacity;
        if (place + bytes > _capacity) _head += _capacity - place;
        while (_head + bytes - _tail > _capacity)
        {
            (long end, nint passed) = _busy.Dequeue();
            if (Driver.EventQuery(passed) is CudaResult.NotReady and var _) _backend.CountWait();
            _backend.Check(Driver.EventSynchronize(passed), "cuEventSynchronize");
            _events.Push(passed);
            _tail = end;
        }
        if (_busy.Count == 0) _tail = _head;
        nint staged = _memory + (nint)(_head % _capacity);
        _head += bytes;
        return staged;
    }

    private void Commit()
    {
        if (!_events.TryPop(out nint created)) _backend.Check(Driver.EventCreate(out created, CudaBackend.EventWithoutTiming), "cuEventCreate");
        _backend.Check(Driver.EventRecord(created, _backend.Stream), "cuEventRecord");
        _busy.Enqueue((_head, created));
    }
}
