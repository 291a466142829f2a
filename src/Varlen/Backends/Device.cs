using Varlen.Backends;
using Varlen.Backends.Cpu;

namespace Varlen;

/// <summary>Where tensors live and ops run.</summary>
/// <remarks>Immutable and thread-safe. Devices are compared by identity: there is one object per device.</remarks>
public sealed class Device
{
    internal Device(Backend backend) => Backend = backend;

    /// <summary>The host's processor. Its kernels use every instruction set up to AVX-512 and one team of threads.</summary>
    public static Device Cpu { get; } = new(CpuBackend.Instance);

    /// <summary>
    /// Threads that CPU kernels use, the calling one included. Defaults to the processors available to the process, or the variable
    /// <c>VARLEN_THREADS</c>. Results do not depend on it.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">The value is below 1 or above 1024.</exception>
    public static int CpuThreads
    {
        get => CpuBackend.Instance.Team.Size;
        set
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, 1);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(value, 1024);
            CpuBackend.Instance.Resize(value);
        }
    }

    internal Backend Backend { get; }

    /// <summary>
    /// Whether results must not depend on the batch or on the run: matrix products by one plan whatever the number of rows, backward passes without
    /// atomic additions. Slower on a GPU; results of the CPU never depend on either. Off at first.
    /// </summary>
    public bool IsDeterministic
    {
        get => Backend == CpuBackend.Instance || Backend.Deterministic;
        set => Backend.Deterministic = value;
    }

    /// <summary>Waits until all work started on the device has finished. Immediate on the CPU.</summary>
    public void Synchronize() => Backend.Synchronize();

    /// <summary>The device's name: "cpu", "cuda:1".</summary>
    public override string ToString() => Backend.Name;
}
