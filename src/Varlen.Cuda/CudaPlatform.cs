using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Memory;
using Varlen.Backends.Cuda.Native;

namespace Varlen.Backends.Cuda;

/// <summary>CUDA on this machine, looked for once: libraries, driver, devices, or why there are none.</summary>
internal sealed unsafe class CudaPlatform
{
    /// <summary>Oldest CUDA version of a driver that runs the kernels.</summary>
    public const int OldestDriver = 12000;

    private static readonly Lazy<CudaPlatform> Instance = new(() => new CudaPlatform(LibrarySearch.OfThisProcess));
    private readonly List<LibraryReport> _libraries = [];
    private readonly List<CudaDeviceInfo> _devices = [];
    private readonly Device?[] _opened;
    private readonly Lock _gate = new();

    private CudaPlatform(LibrarySearch search)
    {
        Missing = Start(search);
        _opened = new Device?[_devices.Count];
    }

    public static CudaPlatform OfThisMachine => Instance.Value;

    /// <summary>Why no device can be used; null when one can.</summary>
    public string? Missing { get; }

    /// <summary>The driver's CUDA version, such as 13000; 0 when there is none.</summary>
    public int DriverVersion { get; private set; }

    /// <summary>NVRTC's version, such as 13.0.</summary>
    public Version? CompilerVersion { get; private set; }

    public IReadOnlyList<LibraryReport> Libraries => _libraries;

    public IReadOnlyList<CudaDeviceInfo> Devices => _devices;

    /// <exception cref="CudaUnavailableException">There is no such device.</exception>
    public Device Open(int index)
    {
        if (Missing is not null) throw new CudaUnavailableException(Missing);
        if ((uint)index >= (uint)_devices.Count)
            throw new CudaUnavailableException($"there is no device cuda:{index}; this machine has {(_devices.Count == 1 ? "cuda:0 only" : $"cuda:0 to cuda:{_devices.Count - 1}")}");
        CudaDeviceInfo info = _devices[index];
        if (WhyNot(info) is { } why) throw new CudaUnavailableException(why);
        lock (_gate) return _opened[index] ??= new CudaBackend(info, CudaAllocator.KeepsSegments).Device;
    }

    /// <summary>Why a device that is there cannot be used; null when it can.</summary>
    public static string? WhyNot(CudaDeviceInfo info)
        => info.ComputeCapability.Major >= 8 ? null : $"cuda:{info.Index} ({info.Name}) has compute capability {info.ComputeCapability}; 8.0 or newer is needed (Ampere, Ada, Hopper, Blackwell)";

    private string? Start(LibrarySearch search)
    {
        if (!Find(CudaLibrary.Driver, int.MaxValue, out string? missing)) return missing;
        try
        {
            if (Driver.GetVersion(out int version) != CudaResult.Success) return $"{_libraries[0].Path} does not tell its version; reinstall the NVIDIA driver";
            DriverVersion = version;
            if (version < OldestDriver) return $"the driver is for CUDA {Text(version)}; CUDA {Text(OldestDriver)} or newer is needed (NVIDIA driver 525 on Linux, 528 on Windows); update the driver";
            CudaResult started = Driver.Init(0);
            if (started != CudaResult.Success) return WhyNot(started);
            if (Driver.DeviceGetCount(out int count) is not CudaResult.Success and var counted) return WhyNot(counted);
            if (count == 0) return NoDevices();
            for (int i = 0; i < count; i++) _devices.Add(CudaDeviceInfo.Read(i));
        }
        catch (EntryPointNotFoundException e)
        {
            return $"{_libraries[0].Path} is no CUDA driver that works: {e.Message}";
        }
        if (!Find(CudaLibrary.Nvrtc, DriverVersion / 1000, out missing) || !Find(CudaLibrary.CublasLt, DriverVersion / 1000, out missing)) return missing;
        try
        {
            if (Nvrtc.Version(out int major, out int minor) != 0) return $"{_libraries[1].Path} does not tell its version; reinstall the CUDA toolkit";
            CompilerVersion = new Version(major, minor);
        }
        catch (EntryPointNotFoundException e)
        {
            return $"{_libraries[1].Path} is no NVRTC that works: {e.Message}";
        }
        return null;

        bool Find(CudaLibrary library, int newestMajor, out string? why)
        {
            LibraryReport report = search.Find(library, newestMajor);
            _libraries.Add(report);
            NativeBindings.Use(report);
            why = report.IsFound ? null : NotFound(report);
            return report.IsFound;
        }
    }

    private static string NotFound(LibraryReport report)
    {
        string tried = string.Join("; ", report.Attempts);
        return report.Library.IsDriver
            ? $"{report.Library.Purpose} was not found (tried {tried}); install an NVIDIA driver for CUDA {Text(OldestDriver)} or newer"
            : $"{report.Library.Purpose} was not found (tried {tried}); install the CUDA toolkit or its Python wheels, or name the folder in {LibrarySearch.Variable}";
    }

    private string WhyNot(CudaResult result)
    {
        (string name, string text) = Driver.Describe(result);
        return result switch
        {
            CudaResult.NoDevice => NoDevices(),
            CudaResult.SystemDriverMismatch => $"the driver's library {_libraries[0].Path} and the kernel module are of different versions ({name}); restart the machine after the driver's update",
            _ => $"the driver {_libraries[0].Path} for CUDA {Text(DriverVersion)} did not start: {name}, {text}",
        };
    }

    private static string NoDevices()
        => Environment.GetEnvironmentVariable("CUDA_VISIBLE_DEVICES") is { } visible
            ? $"the driver shows no GPU; the variable CUDA_VISIBLE_DEVICES is \"{visible}\""
            : "the driver shows no GPU; nvidia-smi tells whether the machine has one";

    private static string Text(int version) => $"{version / 1000}.{version % 1000 / 10}";
}

/// <summary>What a CUDA device is.</summary>
/// <param name="Index">n in cuda:n.</param>
/// <param name="Handle">The driver's number for it.</param>
/// <param name="Name">Its name.</param>
/// <param name="ComputeCapability">Such as 9.0.</param>
/// <param name="Bytes">Its memory.</param>
/// <param name="MultiprocessorCount">Multiprocessors.</param>
/// <param name="SharedMemoryPerBlock">Most shared memory of a block.</param>
internal sealed record CudaDeviceInfo(int Index, int Handle, string Name, Version ComputeCapability, long Bytes, int MultiprocessorCount, int SharedMemoryPerBlock)
{
    /// <summary>What kernels are compiled for: with the instructions of just this architecture where it has any.</summary>
    public string Architecture => $"sm_{ComputeCapability.Major}{ComputeCapability.Minor}{(ComputeCapability.Major >= 9 ? "a" : "")}";

    public static unsafe CudaDeviceInfo Read(int index)
    {
        Check(Driver.DeviceGet(out int handle, index), "cuDeviceGet");
        byte* name = stackalloc byte[256];
        Check(Driver.DeviceGetName(name, 256, handle), "cuDeviceGetName");
        Check(Driver.DeviceTotalMem(out nuint bytes, handle), "cuDeviceTotalMem");
        return new(
            index, handle, Marshal.PtrToStringUTF8((nint)name)!, new Version(Attribute(DeviceAttribute.ComputeCapabilityMajor), Attribute(DeviceAttribute.ComputeCapabilityMinor)), (long)bytes,
            Attribute(DeviceAttribute.MultiprocessorCount), Attribute(DeviceAttribute.SharedMemoryPerBlockOptIn));

        int Attribute(DeviceAttribute attribute)
        {
            Check(Driver.DeviceGetAttribute(out int value, attribute, handle), "cuDeviceGetAttribute");
            return value;
        }

        static void Check(CudaResult result, string call)
        {
            if (result != CudaResult.Success) throw CudaException.Of(result, call);
        }
    }
}
