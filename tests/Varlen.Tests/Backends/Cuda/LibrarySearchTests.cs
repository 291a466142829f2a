using Varlen.Backends.Cuda.Native;
using Xunit;

namespace Varlen.Tests.Backends.Cuda;

public sealed class LibrarySearchTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly Dictionary<string, string> _environment = [];
    private readonly List<string> _asked = [];

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void AnExplicitFolderComesFirst()
    {
        Put("named/libnvrtc.so.12");
        Put("toolkit/lib64/libnvrtc.so.13");
        _environment["VARLEN_CUDA_LIBRARIES"] = $"{_folder["nothing"]}:{_folder["named"]}";
        _environment["CUDA_HOME"] = _folder["toolkit"];
        Assert.Equal(_folder["named/libnvrtc.so.12"], Find().Path);
        Assert.Equal([_folder["named/libnvrtc.so.12"]], _asked);
    }

    [Theory]
    [InlineData("CUDA_HOME", "lib64")]
    [InlineData("CUDA_PATH", "lib")]
    [InlineData("CUDA_HOME", "targets/x86_64-linux/lib")]
    public void ToolkitsAreSearchedAfterTheLoader(string variable, string folder)
    {
        Put($"{folder}/libnvrtc.so.13");
        _environment[variable] = _folder.Path;
        LibraryReport report = Find();
        Assert.Equal(_folder[$"{folder}/libnvrtc.so.13"], report.Path);
        Assert.Equal(["libnvrtc.so.13", "libnvrtc.so.12", report.Path!], _asked);
        Assert.Equal(["libnvrtc.so.13: not on the loader's path", "libnvrtc.so.12: not on the loader's path"], report.Attempts);
    }

    [Theory]
    [InlineData("VIRTUAL_ENV", "lib/python3.12/site-packages/nvidia/cu13/lib")]
    [InlineData("VIRTUAL_ENV", "lib/python3.9/site-packages/nvidia/cuda_nvrtc/lib")]
    [InlineData("CONDA_PREFIX", "lib")]
    [InlineData("HOME", ".local/lib/python3.11/site-packages/nvidia/cu13/lib")]
    public void PythonsWheelsAreSearched(string variable, string folder)
    {
        // A user's own environment begins below HOME.
        Put($"{folder}/libnvrtc.so.13");
        _environment[variable] = _folder.Path;
        Assert.Equal(_folder[$"{folder}/libnvrtc.so.13"], Find().Path);
    }

    [Fact]
    public void APythonOnThePathLeadsToItsWheels()
    {
        Put("bin/python3");
        Put("lib/python3.13/dist-packages/nvidia/cu13/lib/libnvrtc.so.13");
        _environment["PATH"] = _folder["bin"];
        Assert.Equal(_folder["lib/python3.13/dist-packages/nvidia/cu13/lib/libnvrtc.so.13"], Find().Path);
    }

    [Fact]
    public void TheDriverIsNotLookedForInToolkits()
    {
        Put("lib64/libcuda.so.1");
        _environment["CUDA_HOME"] = _folder.Path;
        LibraryReport report = Search().Find(CudaLibrary.Driver);
        Assert.False(report.IsFound);
        Assert.Equal(["libcuda.so.1: not on the loader's path", "libcuda.so: not on the loader's path"], report.Attempts);
    }

    [Fact]
    public void ABrokenFileIsToldAndTheSearchGoesOn()
    {
        Put("named/libnvrtc.so.13", "broken");
        Put("named/libnvrtc.so.12");
        _environment["VARLEN_CUDA_LIBRARIES"] = _folder["named"];
        LibraryReport report = Find();
        Assert.Equal(_folder["named/libnvrtc.so.12"], report.Path);
        Assert.Equal([$"{_folder["named/libnvrtc.so.13"]}: not an ELF file"], report.Attempts);
    }

    [Fact]
    public void AFolderThatDoesNotExistIsTold()
    {
        _environment["VARLEN_CUDA_LIBRARIES"] = _folder["gone"];
        Assert.Equal($"{_folder["gone"]}: no such folder (VARLEN_CUDA_LIBRARIES)", Find().Attempts[0]);
    }

    [Fact]
    public void LibrariesNewerThanTheDriverAreLeftOut()
    {
        Put("lib64/libnvrtc.so.13");
        _environment["CUDA_HOME"] = _folder.Path;
        LibraryReport report = Search().Find(CudaLibrary.Nvrtc, newestMajor: 12);
        Assert.False(report.IsFound);
        Assert.Equal(["libnvrtc.so.12: not on the loader's path"], report.Attempts);
    }

    [Fact]
    public void WindowsHasItsOwnNamesAndFolders()
    {
        Assert.Equal(["nvcuda.dll"], CudaLibrary.Driver.FileNames(windows: true, 13));
        Assert.Equal(["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"], CudaLibrary.Nvrtc.FileNames(windows: true, 13));
        Assert.Equal(["nvrtc64_120_0.dll"], CudaLibrary.Nvrtc.FileNames(windows: true, 12));
        Assert.Equal(["cublasLt64_13.dll", "cublasLt64_12.dll"], CudaLibrary.CublasLt.FileNames(windows: true, 13));
        Put("bin/x64/nvrtc64_130_0.dll");
        Put("venv/Lib/site-packages/nvidia/cu13/bin/nvrtc64_120_0.dll");
        _environment["VIRTUAL_ENV"] = _folder["venv"];
        Assert.Equal(_folder["venv/Lib/site-packages/nvidia/cu13/bin/nvrtc64_120_0.dll"], Search(windows: true).Find(CudaLibrary.Nvrtc).Path);
        _environment["CUDA_PATH"] = _folder.Path;
        Assert.Equal(_folder["bin/x64/nvrtc64_130_0.dll"], Search(windows: true).Find(CudaLibrary.Nvrtc).Path);
    }

    private void Put(string name, string text = "library") => _folder.Write(name, text);

    private LibraryReport Find() => Search().Find(CudaLibrary.Nvrtc);

    private LibrarySearch Search(bool windows = false) => new(_environment.GetValueOrDefault, Load, windows);

    // Loads what lies in this test's folder only, so that the machine's own libraries do not matter.
    private nint Load(string path)
    {
        if (Path.IsPathRooted(path) && !path.StartsWith(_folder.Path, StringComparison.Ordinal)) throw new DllNotFoundException("of this machine");
        _asked.Add(path);
        if (!Path.IsPathRooted(path)) throw new DllNotFoundException("and more\nnot on the loader's path\n");
        return File.ReadAllText(path) == "broken" ? throw new BadImageFormatException("not an ELF file") : 1;
    }
}
