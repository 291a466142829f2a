using System.Runtime.InteropServices;

namespace Varlen.Backends.Cuda.Memory;

/// <summary>A list that kernels read, written on the host and sent; its place on the device never changes, so that it can be sent again.</summary>
/// <param name="backend">The device.</param>
/// <param name="count">Elements.</param>
internal sealed class DeviceList<T>(CudaBackend backend, int count) : IDisposable where T : unmanaged
{
    private readonly Tensor? _memory = count == 0 ? null : Tensor.AllocateUntracked([checked((int)((((long)count * Marshal.SizeOf<T>()) + sizeof(long) - 1) / sizeof(long)))], DType.Int64, backend.Device);

    /// <summary>What <see cref="Send"/> sends.</summary>
    public T[] Values { get; } = new T[count];

    /// <summary>Its address; 0 when it is empty.</summary>
    public nint Pointer => _memory?.Pointer ?? 0;

    /// <summary>Sends the values, in order with the device's work.</summary>
    public void Send() => backend.CopyFromHost(MemoryMarshal.AsBytes(Values.AsSpan()), Pointer);

    // Stream-ordered: kernels that were launched before read it to the end.
    public void Dispose() => _memory?.Dispose();
}
