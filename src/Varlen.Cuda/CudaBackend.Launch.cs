using Varlen.Backends.Cuda.Compilation;
using Varlen.Backends.Cuda.Native;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend
{
    private const int RememberedLaunches = 16;

    private static readonly bool IsSynchronous = Environment.GetEnvironmentVariable("VARLEN_SYNC") == "1";
    private readonly string?[] _launches = new string?[RememberedLaunches];
    private int _launched;
    private string? _fault;

    /// <summary>Whether a kernel has faulted: nothing runs on the device any more.</summary>
    public bool IsLost => _fault is not null;

    /// <summary>Launches so far.</summary>
    public int LaunchCount => _launched;

    /// <summary>Starts a kernel behind everything started before.</summary>
    /// <param name="key">Which.</param>
    /// <param name="blocks">Blocks, at least 1.</param>
    /// <param name="threads">Threads of a block.</param>
    /// <param name="arguments">The kernel's one argument, field by field as in its source.</param>
    /// <param name="sharedBytes">Dynamic shared memory.</param>
    public void Launch<T>(KernelKey key, long blocks, int threads, in T arguments, int sharedBytes = 0) where T : unmanaged
    {
        EnsureCurrent();
        Kernel kernel = Kernels.Get(key);
        if (kernel.ArgumentBytes != sizeof(T) && kernel.ArgumentBytes != 0)
            throw new InvalidOperationException($"{kernel.Name} takes {kernel.ArgumentBytes} bytes and {typeof(T).Name} has {sizeof(T)}: source and launcher do not declare the same fields");
        if (sharedBytes > kernel.AllowedSharedBytes)
        {
            Check(Driver.FunctionSetAttribute(kernel.Function, FunctionAttribute.MaxDynamicSharedBytes, sharedBytes), "cuFuncSetAttribute");
            kernel.AllowedSharedBytes = sharedBytes;
        }
        CudaResult result;
        fixed (T* p = &arguments)
        {
            void* parameter = p;
            result = Driver.LaunchKernel(kernel.Function, checked((uint)blocks), 1, 1, (uint)threads, 1, 1, (uint)sharedBytes, Stream, &parameter, null);
        }
        _launches[_launched++ % RememberedLaunches] = kernel.Name;
        if (result != CudaResult.Success) throw Failure(result, $"launching {kernel.Name} with {blocks} blocks of {threads} threads and {sharedBytes} bytes of shared memory");
        if (IsSynchronous && !IsCapturing) Check(Driver.StreamSynchronize(Stream), $"kernel {kernel.Name}");
    }

    /// <summary>Remembers work that another library launches, for the message of a fault.</summary>
    public void NoteLaunch(string name) => _launches[_launched++ % RememberedLaunches] = name;

    public void Check(CudaResult result, string call)
    {
        if (result != CudaResult.Success) throw Failure(result, call);
    }

    /// <summary>The exception for a failed call. A fault marks the device as lost.</summary>
    public Exception Failure(CudaResult result, string call)
    {
        NoteFailure(result);
        return IsLost ? Lost() : result == CudaResult.OutOfMemory ? new OutOfDeviceMemoryException($"{Name} ({Info.Name}) ran out of memory in {call}; lower the tokens of a batch (--batch-tokens), the context or the model") : CudaException.Of(result, call);
    }

    /// <summary>Marks the device as lost if the code says so.</summary>
    public void NoteFailure(CudaResult result)
    {
        // Out-of-resources is of the launch alone; the rest of the range leaves the context unusable.
        bool isFault = result is CudaResult.EccUncorrectable or (>= CudaResult.IllegalAddress and <= CudaResult.LaunchFailed and not CudaResult.LaunchOutOfResources);
        if (!isFault || _fault is not null) return;
        (string name, string text) = Driver.Describe(result);
        IEnumerable<string?> recent = Enumerable.Range(1, Math.Min(_launched, RememberedLaunches)).Select(back => _launches[(_launched - back) % RememberedLaunches]);
        string where = IsSynchronous ? $"in {_launches[(_launched + RememberedLaunches - 1) % RememberedLaunches]}" : $"in one of the kernels launched last, newest first: {string.Join(", ", recent)}; run again with VARLEN_SYNC=1 to learn which";
        _fault = $"{Name} ({Info.Name}) is lost: {name}, {text}, {where}";
    }

    /// <summary>Refuses what only the CPU computes in.</summary>
    /// <exception cref="NotSupportedException">The type is not one that kernels compute in.</exception>
    public void RequireComputeType(string op, Tensor tensor) => RequireComputeType(op, tensor.DType);

    /// <inheritdoc cref="RequireComputeType(string, Tensor)"/>
    public void RequireComputeType(string op, DType type)
    {
        if (type is DType.Float32 or DType.BFloat16 or DType.Float16) return;
        string why = type == DType.Float64 ? "Float64 is the reference precision, which only the CPU has" : $"{type} is not a type that kernels compute in";
        throw new NotSupportedException($"{op}: {why}; {Name} computes in Float32, BFloat16 and Float16, so convert with To(dtype:)");
    }

    private CudaFaultException Lost() => new(_fault!);
}
