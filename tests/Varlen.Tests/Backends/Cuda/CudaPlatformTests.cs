using Xunit;

namespace Varlen.Tests.Backends.Cuda;

/// <summary>What users are told when CUDA cannot be used: each case in a process of its own, with libraries made for it.</summary>
public sealed class CudaPlatformTests
{
    [Fact]
    public void ADriverThatIsTooOldIsNamedWithTheOneThatIsNeeded()
    {
        using FakeLibraries libraries = new FakeLibraries().Driver(11080);
        AssertMissing(libraries.Ask(), "the driver is for CUDA 11.8; CUDA 12.0 or newer is needed (NVIDIA driver 525 on Linux, 528 on Windows); update the driver");
    }

    [Theory]
    [InlineData(100, "the driver shows no GPU")]
    [InlineData(803, "and the kernel module are of different versions (CUDA_ERROR_FAKE); restart the machine after the driver's update")]
    [InlineData(802, "for CUDA 13.0 did not start: CUDA_ERROR_FAKE, a made-up reason")]
    [InlineData(999, "for CUDA 13.0 did not start: CUDA_ERROR_FAKE, a made-up reason")]
    public void ADriverThatDoesNotStartIsNamedWithItsReason(int code, string expected)
    {
        using FakeLibraries libraries = new FakeLibraries().Driver(13000, init: code);
        AssertMissing(libraries.Ask(("CUDA_VISIBLE_DEVICES", null)), expected);
    }

    [Theory]
    [InlineData("")]
    [InlineData("7")]
    public void HiddenDevicesAreToldFromMissingOnes(string visible)
    {
        using FakeLibraries libraries = new FakeLibraries().Driver(13000, count: 0);
        AssertMissing(libraries.Ask(("CUDA_VISIBLE_DEVICES", visible)), $"the driver shows no GPU; the variable CUDA_VISIBLE_DEVICES is \"{visible}\"");
        AssertMissing(libraries.Ask(("CUDA_VISIBLE_DEVICES", null)), "the driver shows no GPU; nvidia-smi tells whether the machine has one");
    }

    [Fact]
    public void ADriverWithoutAFunctionIsNoDriverThatWorks()
    {
        using FakeLibraries libraries = new FakeLibraries().Driver(13000, hasInit: false);
        AssertMissing(libraries.Ask(), $"{libraries.Folder}/libcuda.so.1 is no CUDA driver that works", "cuInit");
    }

    [Fact]
    public void AFileThatIsNoLibraryIsNamedWithTheLoadersWords()
    {
        using FakeLibraries libraries = new FakeLibraries().Text("libcuda.so.1", "not a library");
        AssertMissing(libraries.Ask(), "the CUDA driver was not found", $"{libraries.Folder}/libcuda.so.1: ", "file too short", "install an NVIDIA driver for CUDA 12.0 or newer");
    }

    [Fact]
    public void MissingLibrariesAreNamedWithWhatWasTried()
    {
        using FakeLibraries libraries = new FakeLibraries().Driver(13000);
        AssertMissing(libraries.Ask(), "CUDA's run-time compiler NVRTC was not found", "libnvrtc.so.13", "libnvrtc.so.12", "install the CUDA toolkit or its Python wheels, or name the folder in VARLEN_CUDA_LIBRARIES");
        libraries.Nvrtc(13);
        AssertMissing(libraries.Ask(), "CUDA's matrix products cuBLASLt was not found", "libcublasLt.so.13");
    }

    [Fact]
    public void ADriverForCuda12GetsNoLibrariesOfCuda13()
    {
        using FakeLibraries libraries = new FakeLibraries().Driver(12040).Nvrtc(13).CublasLt(13);
        string[] said = libraries.Ask();
        AssertMissing(said, "CUDA's run-time compiler NVRTC was not found", "libnvrtc.so.12");
        Assert.DoesNotContain("so.13", said[1], StringComparison.Ordinal);
        Assert.Equal("1 devices", libraries.Nvrtc(12).CublasLt(12).Ask()[0]);
    }

    [Fact]
    public void ALibraryWithoutItsFunctionsIsNamed()
    {
        using FakeLibraries libraries = new FakeLibraries().Driver(13000).Nvrtc(13).CublasLt(13);
        File.Copy(Path.Combine(libraries.Folder, "libcublasLt.so.13"), Path.Combine(libraries.Folder, "libnvrtc.so.13"), overwrite: true);
        AssertMissing(libraries.Ask(), $"{libraries.Folder}/libnvrtc.so.13 is no NVRTC that works", "nvrtcVersion");
    }

    [Fact]
    public void AnOldGpuAndAnIndexThatIsNotThereAreRefused()
    {
        using FakeLibraries libraries = new FakeLibraries().Driver(13000, count: 2).Nvrtc(13).CublasLt(13);
        string[] said = libraries.Ask();
        Assert.Equal("2 devices", said[0]);
        Assert.Equal("CudaUnavailableException: cuda:0 (Fake 2000) has compute capability 7.5; 8.0 or newer is needed (Ampere, Ada, Hopper, Blackwell)", said[1]);
        Assert.Equal("CudaUnavailableException: there is no device cuda:3; this machine has cuda:0 to cuda:1", said[2]);
    }

    private static void AssertMissing(string[] said, params string[] expected)
    {
        Assert.Equal("0 devices", said[0]);
        Assert.StartsWith("CudaUnavailableException: ", said[1], StringComparison.Ordinal);
        Assert.Equal(said[1], said[2]);
        foreach (string text in expected) Assert.Contains(text, said[1], StringComparison.Ordinal);
    }
}
