using System.Diagnostics;
using Xunit;

namespace Varlen.Tests.Backends.Cuda;

/// <summary>A folder with shared libraries that pretend to be CUDA's, as old or as broken as a test wants them.</summary>
internal sealed class FakeLibraries : IDisposable
{
    private const string Source = """
        #include <string.h>
        #ifdef DRIVER
        #ifndef NO_INIT
        int cuInit(unsigned flags) { return INIT; }
        #endif
        int cuDriverGetVersion(int* version) { *version = DRIVER; return 0; }
        int cuDeviceGetCount(int* count) { *count = COUNT; return 0; }
        int cuDeviceGet(int* device, int ordinal) { *device = ordinal; return 0; }
        int cuDeviceGetName(char* name, int length, int device) { strncpy(name, "Fake 2000", length); return 0; }
        int cuDeviceTotalMem_v2(size_t* bytes, int device) { *bytes = 1 << 30; return 0; }
        int cuDeviceGetAttribute(int* value, int attribute, int device) { *value = attribute == 75 ? 7 : 5; return 0; }
        int cuGetErrorName(int error, const char** name) { *name = "CUDA_ERROR_FAKE"; return 0; }
        int cuGetErrorString(int error, const char** text) { *text = "a made-up reason"; return 0; }
        #endif
        #ifdef NVRTC
        int nvrtcVersion(int* major, int* minor) { *major = NVRTC; *minor = 4; return 0; }
        #endif
        int anything;
        """;

    private readonly TemporaryFolder _folder = new();

    /// <summary>Skips the test where no C compiler is, or no such libraries.</summary>
    public FakeLibraries()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "the fake libraries are made for Linux");
        Assert.SkipUnless(Environment.GetEnvironmentVariable("PATH")!.Split(':').Any(folder => File.Exists(Path.Combine(folder, "gcc"))), "gcc is not on the PATH");
        Assert.SkipWhen(Device.CudaCount > 0 && !TestDevices.IsEmulated, "this machine's own CUDA libraries would be found");
    }

    public string Folder => _folder.Path;

    public FakeLibraries Driver(int version, int init = 0, int count = 1, bool hasInit = true) => Make("libcuda.so.1", $"-DDRIVER={version}", $"-DINIT={init}", $"-DCOUNT={count}", hasInit ? "-DFINE" : "-DNO_INIT");

    public FakeLibraries Nvrtc(int major) => Make($"libnvrtc.so.{major}", $"-DNVRTC={major}");

    public FakeLibraries CublasLt(int major) => Make($"libcublasLt.so.{major}");

    public FakeLibraries Text(string name, string text)
    {
        _folder.Write(name, text);
        return this;
    }

    /// <summary>What a process says that has these libraries: the number of devices, what became of the first one, and of the fourth.</summary>
    public string[] Ask(params (string Name, string? Value)[] variables)
    {
        (int exitCode, string output, string error) = CudaTarget.Start("why", [("VARLEN_CUDA_LIBRARIES", Folder), ("CUDA_HOME", null), ("CUDA_PATH", null), .. variables]);
        Assert.True(exitCode == 0, error);
        string[] lines = output.TrimEnd().Split('\n');
        Assert.Equal(3, lines.Length);
        return lines;
    }

    public void Dispose() => _folder.Dispose();

    private FakeLibraries Make(string name, params string[] defines)
    {
        var start = new ProcessStartInfo("gcc", ["-shared", "-fPIC", "-o", _folder[name], .. defines, "-x", "c", "-"]) { RedirectStandardInput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        process.StandardInput.Write(Source);
        process.StandardInput.Close();
        string error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, error);
        return this;
    }
}
