using System.Runtime.InteropServices;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>Lists that were sent to the device, released together.</summary>
internal sealed class SentMemory(CudaBackend backend) : IDisposable
{
    private readonly List<Tensor> _memory = [];

    /// <summary>Sends values.</summary>
    /// <returns>Their address; 0 when there are none.</returns>
    public nint Send<T>(ReadOnlySpan<T> values) where T : unmanaged
    {
        if (values.IsEmpty) return 0;
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(values);
        Tensor memory = Tensor.AllocateUntracked([(bytes.Length + sizeof(int) - 1) / sizeof(int)], DType.Int32, backend.Device);
        _memory.Add(memory);
        backend.CopyFromHost(bytes, memory.Pointer);
        return memory.Pointer;
    }

    public void Dispose()
    {
        // Stream-ordered: kernels that were launched before read them to the end.
        foreach (Tensor tensor in _memory) tensor.Dispose();
    }
}
