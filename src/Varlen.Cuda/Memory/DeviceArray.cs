namespace Varlen.Backends.Cuda.Memory;

/// <summary>Values that were sent to the device and are kept there. Disposing right after a launch is legal: memory is released in the stream's order.</summary>
internal readonly struct DeviceArray(Allocator allocator, nint pointer, long bytes) : IDisposable
{
    /// <summary>Address on the device; 0 when there is nothing.</summary>
    public nint Pointer { get; } = pointer;

    public void Dispose()
    {
        if (Pointer != 0) allocator.Free(Pointer, bytes);
    }
}
