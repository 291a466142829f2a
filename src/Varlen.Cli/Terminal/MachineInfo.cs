using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Varlen.Backends.Cuda;

namespace Varlen.Cli.Terminal;

/// <summary>What the program is and runs on.</summary>
internal static class MachineInfo
{
    /// <summary>The program's version.</summary>
    public static string Version { get; } = typeof(Tensor).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion;

    /// <summary>Whether the library was built without optimisation: figures then mean nothing.</summary>
    public static bool IsDebugBuild { get; } = typeof(Tensor).Assembly.GetCustomAttribute<System.Diagnostics.DebuggableAttribute>() is { IsJITOptimizerDisabled: true };

    /// <summary>Bits of the widest vectors that kernels use.</summary>
    public static int VectorBits => Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : 128;

    /// <summary>The processor's name as the system gives it, or its architecture.</summary>
    public static string Processor()
    {
        try
        {
            const string key = "model name";
            if (OperatingSystem.IsLinux() && File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith(key, StringComparison.Ordinal)) is { } line)
                return line[(line.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A sandbox without /proc still has an architecture.
        }
        return Environment.GetEnvironmentVariable("PROCESSOR_IDENTIFIER") ?? RuntimeInformation.ProcessArchitecture.ToString();
    }

    /// <summary>A device in a few words.</summary>
    public static string Describe(Device device) => device.Backend is CudaBackend cuda
        ? $"{device}, {cuda.Info.Name}{(device.IsDeterministic ? ", deterministic" : "")}" : $"{device} with {Device.CpuThreads} threads, {VectorBits}-bit vectors";

    /// <summary>The CUDA version of the driver; null without one.</summary>
    public static string? CudaDriver => CudaPlatform.OfThisMachine.DriverVersion is > 0 and var version ? $"{version / 1000}.{version % 1000 / 10}" : null;

    /// <summary>Every device: its name, what it is, and why it cannot be used, or null.</summary>
    public static IReadOnlyList<(string Name, string? Description, string? Missing)> Devices { get; } = [("cpu", null, null), .. Cuda()];

    // Each device by itself, or why there is none.
    private static IEnumerable<(string Name, string? Description, string? Missing)> Cuda()
    {
        CudaPlatform platform = CudaPlatform.OfThisMachine;
        if (platform.Missing is { } missing) return [("cuda", null, missing)];
        return platform.Devices.Select(device => ($"cuda:{device.Index}",
            (string?)string.Create(CultureInfo.InvariantCulture, $"{device.Name}, compute capability {device.ComputeCapability}, {device.MultiprocessorCount} multiprocessors, {device.Bytes / (double)(1 << 30):F1} GiB"), CudaPlatform.WhyNot(device)));
    }
}
