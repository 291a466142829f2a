using System.Collections.Concurrent;
using Varlen.Backends.Cuda.Native;

namespace Varlen.Backends.Cuda.Compilation;

/// <summary>A kernel that is ready to launch.</summary>
internal sealed class Kernel(string name, nint function, int argumentBytes)
{
    public string Name { get; } = name;
    public nint Function { get; } = function;

    /// <summary>Bytes of its argument in the source; 0 when the driver does not tell.</summary>
    public int ArgumentBytes { get; } = argumentBytes;

    /// <summary>Dynamic shared memory that the driver has been told to allow.</summary>
    public int AllowedSharedBytes { get; set; } = 48 << 10;
}

/// <summary>The kernels of one device: compiled or read from the disk on first use, and kept.</summary>
internal sealed unsafe class KernelHost(CudaDeviceInfo device, KernelCache cache)
{
    private readonly ConcurrentDictionary<KernelKey, Kernel> _kernels = new();
    private readonly ConcurrentDictionary<string, Lazy<nint>> _modules = new();
    private bool _jitters;

    /// <summary>Told of compilations: how many are done, and how many there are.</summary>
    public static Action<int, int>? Progress { get; set; }

    /// <summary>Whether kernels are built to sleep at random, which brings races to light. For tests.</summary>
    public bool Jitters
    {
        get => _jitters;
        set
        {
            _jitters = value;
            _kernels.Clear();
        }
    }

    /// <summary>The kernel, made ready if need be. The device's context must be current.</summary>
    public Kernel Get(KernelKey key) => _kernels.TryGetValue(key, out Kernel? kernel) ? kernel : _kernels.GetOrAdd(key, Load);

    /// <summary>Compiles in parallel what is not on the disk yet, so that the first step need not do it one by one.</summary>
    public void Prepare(IEnumerable<KernelKey> keys)
    {
        (string Source, string[] Defines)[] missing =
            [.. keys.Select(key => (key.Family.Source, Defines: key.Defines().ToArray())).DistinctBy(module => Name(module.Source, module.Defines)).Where(module => !cache.Contains(module.Source, module.Defines, device.Architecture))];
        int done = 0;
        Parallel.ForEach(missing, module =>
        {
            Image(module.Source, module.Defines);
            Progress?.Invoke(Interlocked.Increment(ref done), missing.Length);
        });
    }

    private Kernel Load(KernelKey key)
    {
        string[] defines = Jitters ? [.. key.Defines(), "JITTER=1"] : [.. key.Defines()];
        nint module = _modules.GetOrAdd(Name(key.Family.Source, defines), _ => new Lazy<nint>(() => LoadModule(key.Family.Source, defines))).Value;
        CudaResult result = Driver.ModuleGetFunction(out nint function, module, key.Family.Entry);
        return result == CudaResult.Success ? new Kernel(key.ToString(), function, ArgumentBytes(function)) : throw CudaException.Of(result, $"finding {key.Family.Entry} in {key.Family.Source}");
    }

    private static int ArgumentBytes(nint function)
    {
        try
        {
            return Driver.FunctionGetParameterInfo(function, 0, out _, out nuint bytes) == CudaResult.Success ? (int)bytes : 0;
        }
        catch (EntryPointNotFoundException)
        {
            return 0;
        }
    }

    private nint LoadModule(string source, string[] defines)
    {
        byte[] image = Image(source, defines);
        fixed (byte* p = image)
        {
            CudaResult result = Driver.ModuleLoadData(out nint module, p, 0, null, null);
            return result == CudaResult.Success ? module : throw CudaException.Of(result, $"loading {source} for {device.Architecture}");
        }
    }

    private byte[] Image(string source, string[] defines)
        => cache.GetOrAdd(source, defines, device.Architecture, () => KernelCompiler.Compile(source, defines, device.Architecture).Image);

    private static string Name(string source, string[] defines) => $"{source} {string.Join(' ', defines)}";
}
