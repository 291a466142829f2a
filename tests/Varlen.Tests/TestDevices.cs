using Xunit;

namespace Varlen.Tests;

/// <summary>The devices that theories run on, as rows: the CPU always, a CUDA device where there is one, else visibly skipped.</summary>
internal static class TestDevices
{
    private const string Emulator = "Varlen emulator";

    // VARLEN_TEST_DEVICES=cuda leaves out the CPU's rows, as where every launch is checked and takes long.
    private static readonly string[] Names = Environment.GetEnvironmentVariable("VARLEN_TEST_DEVICES")?.Split(',') ?? ["cpu", "cuda"];

    // VARLEN_REQUIRE_CUDA=1 makes a missing device a failure, where the tests are run for the device's sake.
    private static readonly bool IsCudaRequired = Environment.GetEnvironmentVariable("VARLEN_REQUIRE_CUDA") == "1";

    // VARLEN_TEST_SEGMENTS=1 takes memory from segments on the emulator, too, as it is on devices.
    private static readonly bool KeepsSegments = Environment.GetEnvironmentVariable("VARLEN_TEST_SEGMENTS") == "1";

    private static bool s_isPrepared;

    /// <summary>Rows for <c>[MemberData]</c>: "cpu" and "cuda".</summary>
    public static TheoryData<string> All { get; } = new(Names);

    /// <summary>Rows of device and the types that CUDA computes in.</summary>
    public static TheoryData<string, DType> AllWithTypes { get; } = new(
        from name in Names from dtype in (DType[])[DType.Float32, DType.BFloat16, DType.Float16] select (name, dtype));

    /// <summary>Whether the CUDA device is the emulator, which is right but slow: large shapes are left out there.</summary>
    public static bool IsEmulated => Device.CudaCount > 0 && Varlen.Backends.Cuda.CudaPlatform.OfThisMachine.Devices[0].Name == Emulator;

    /// <summary>Whether launches take long: on the emulator, and where VARLEN_TEST_SLOW=1 says so, as under a tool that checks every access.</summary>
    public static bool IsSlow => IsEmulated || Environment.GetEnvironmentVariable("VARLEN_TEST_SLOW") == "1";

    /// <summary>The device of a row; skips the test when it is not there.</summary>
    public static Device Get(string name)
    {
        if (name == "cpu") return Device.Cpu;
        Assert.False(IsCudaRequired && Device.CudaCount == 0, $"no CUDA device: {Device.WhyNoCuda}");
        Assert.SkipWhen(Device.CudaCount == 0, $"no CUDA device: {Device.WhyNoCuda}");
        // The emulator checks what is read and written around an allocation and behind its end, and fills it with NaN: one for each tensor.
        if (IsEmulated && !KeepsSegments) Varlen.Backends.Cuda.Memory.CudaAllocator.KeepsSegments = false;
        if (!s_isPrepared && IsCudaRequired && !IsEmulated) Prepare();
        return Device.Cuda();
    }

    // All kernels at once on all processors, where one after the other would take minutes.
    private static void Prepare()
    {
        s_isPrepared = true;
        ((Varlen.Backends.Cuda.CudaBackend)Device.Cuda().Backend).Kernels.Prepare(Varlen.Backends.Cuda.Compilation.KernelSources.Families().SelectMany(family => family.All()));
    }

    /// <summary>The CUDA device; skips the test when there is none.</summary>
    public static Device Cuda() => Get("cuda");

    /// <summary>A CUDA device that is no emulator, for what takes real memory or speed; skips the test when there is none.</summary>
    public static Device RealCuda()
    {
        Device device = Cuda();
        Assert.SkipWhen(IsEmulated, "the emulator is too slow for this");
        return device;
    }
}
