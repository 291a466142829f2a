namespace Varlen.Backends.Cuda.Native;

/// <summary>A native library of CUDA: the names it goes by, newest first.</summary>
/// <param name="Name">Name in this assembly's imports.</param>
/// <param name="Purpose">What it is, for messages.</param>
/// <param name="Linux">File names on Linux.</param>
/// <param name="Windows">File names on Windows.</param>
/// <param name="IsDriver">Comes with the driver, so it is not looked for in toolkits.</param>
internal sealed record CudaLibrary(string Name, string Purpose, string[] Linux, string[] Windows, bool IsDriver = false)
{
    public static readonly CudaLibrary Driver = new("cuda", "the CUDA driver", ["libcuda.so.1", "libcuda.so"], ["nvcuda.dll"], IsDriver: true);

    public static readonly CudaLibrary Nvrtc = new("nvrtc", "CUDA's run-time compiler NVRTC", ["libnvrtc.so.13", "libnvrtc.so.12"], ["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"]);

    public static readonly CudaLibrary CublasLt = new("cublasLt", "CUDA's matrix products cuBLASLt", ["libcublasLt.so.13", "libcublasLt.so.12"], ["cublasLt64_13.dll", "cublasLt64_12.dll"]);

    public static IReadOnlyList<CudaLibrary> All { get; } = [Driver, Nvrtc, CublasLt];

    /// <summary>Its file names on a system, for a driver that knows CUDA up to a major version: newer libraries make code it cannot load.</summary>
    public IEnumerable<string> FileNames(bool windows, int newestMajor)
        => (windows ? Windows : Linux).Where(name => IsDriver || newestMajor >= 13 || !name.Contains("13", StringComparison.Ordinal));
}
