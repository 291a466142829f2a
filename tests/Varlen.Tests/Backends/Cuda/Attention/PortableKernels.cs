using Varlen.Backends.Cuda;

namespace Varlen.Tests.Backends.Cuda.Attention;

/// <summary>Leaves a device only the portable kernels of attention, until it is disposed.</summary>
internal sealed class PortableKernels : IDisposable
{
    private readonly CudaBackend _backend;

    public PortableKernels(Device device)
    {
        _backend = (CudaBackend)device.Backend;
        _backend.PortableAttentionOnly = true;
    }

    public void Dispose() => _backend.PortableAttentionOnly = false;
}
