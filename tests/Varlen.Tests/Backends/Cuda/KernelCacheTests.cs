using System.Collections.Concurrent;
using Varlen.Backends.Cuda.Compilation;
using Xunit;

namespace Varlen.Tests.Backends.Cuda;

public sealed class KernelCacheTests : IDisposable
{
    private const string Source = "copy.cu", Architecture = "sm_90a";
    private readonly TemporaryFolder _folder = new();

    private string Kernels => _folder["kernels"];

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void AModuleIsMadeOnceAndKeptForLaterProcesses()
    {
        int made = 0;
        KernelCache first = New();
        Assert.Equal(Bytes(1), Get(first, 1, ref made));
        Assert.Equal(Bytes(1), Get(first, 1, ref made));
        Assert.Equal(Bytes(1), Get(New(), 1, ref made));
        Assert.Equal(1, made);
        Assert.True(New().Contains(Source, ["N=1"], Architecture));
        Assert.False(New().Contains(Source, ["N=2"], Architecture));
        if (OperatingSystem.IsWindows()) return;
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Kernels));
    }

    [Fact]
    public void EverythingThatDecidesAModuleIsInItsKey()
    {
        (string, string)[] headers = [("a.cuh", "int a;"), ("b.cuh", "int b;")];
        string[] keys =
        [
            KernelCache.Key("1", "nvrtc 13.0", "x.cu", "text", headers, ["-DN=1"]),
            KernelCache.Key("2", "nvrtc 13.0", "x.cu", "text", headers, ["-DN=1"]),
            KernelCache.Key("1", "nvrtc 13.1", "x.cu", "text", headers, ["-DN=1"]),
            KernelCache.Key("1", "nvrtc 13.0", "y.cu", "text", headers, ["-DN=1"]),
            KernelCache.Key("1", "nvrtc 13.0", "x.cu", "text ", headers, ["-DN=1"]),
            KernelCache.Key("1", "nvrtc 13.0", "x.cu", "text", [("a.cuh", "int A;"), headers[1]], ["-DN=1"]),
            KernelCache.Key("1", "nvrtc 13.0", "x.cu", "text", headers[..1], ["-DN=1"]),
            KernelCache.Key("1", "nvrtc 13.0", "x.cu", "text", headers, ["-DN=2"]),
            KernelCache.Key("1", "nvrtc 13.0", "x.cu", "text", headers, ["-DN=1", "-DM=1"]),
            // Parts may not run into each other.
            KernelCache.Key("1", "nvrtc 13.0", "x.cut", "ext", headers, ["-DN=1"]),
        ];
        Assert.Equal(keys.Length, keys.Distinct().Count());
        KernelCache cache = New();
        Assert.NotEqual(cache.Key(Source, [], "sm_80"), cache.Key(Source, [], "sm_90a"));
        Assert.NotEqual(cache.Key(Source, [], "sm_80"), cache.Key(Source, ["ELEMENT=f32"], "sm_80"));
        Assert.NotEqual(cache.Key(Source, [], "sm_80"), new KernelCache("another", null).Key(Source, [], "sm_80"));
        // Headers of headers count.
        string source = KernelSources.Read(Source);
        string[] included = [.. KernelSources.IncludedBy(source).Select(header => header.Name)];
        Assert.DoesNotContain("#include \"ptx.cuh\"", source, StringComparison.Ordinal);
        Assert.Contains("ptx.cuh", included);
        Assert.DoesNotContain("hopper.cuh", included);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(10)]
    [InlineData(32)]
    [InlineData(40)]
    public void ATruncatedFileIsMadeAgain(int length)
    {
        int made = 0;
        Get(New(), 1, ref made);
        using (FileStream stream = File.OpenWrite(OneFile())) stream.SetLength(length);
        Assert.Equal(Bytes(1), Get(New(), 1, ref made));
        Assert.Equal(Bytes(1), Get(New(), 1, ref made));
        Assert.Equal(2, made);
    }

    [Fact]
    public void ADamagedFileIsMadeAgain()
    {
        int made = 0;
        Get(New(), 1, ref made);
        byte[] good = File.ReadAllBytes(OneFile());
        for (int i = 0; i < good.Length; i += 7)
        {
            byte[] bad = [.. good];
            bad[i] ^= 0x10;
            File.WriteAllBytes(OneFile(), bad);
            Assert.Equal(Bytes(1), Get(New(), 1, ref made));
            Assert.Equal(good, File.ReadAllBytes(OneFile()));
        }
        Assert.Equal(1 + (good.Length + 6) / 7, made);
    }

    [Fact]
    public void LinksAreNotFollowed()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need a privilege on Windows");
        int made = 0;
        Get(New(), 1, ref made);
        string file = OneFile(), aside = _folder["aside"];
        File.Move(file, aside);
        File.CreateSymbolicLink(file, aside);
        Get(New(), 1, ref made);
        Assert.Equal(2, made);
        Directory.CreateSymbolicLink(_folder["link"], Kernels);
        AssertInMemoryOnly(_folder["link"], $"{_folder["link"]} is a symbolic link");
    }

    [Fact]
    public void AFolderThatOthersCanReachIsNotUsed()
    {
        if (OperatingSystem.IsWindows())
        {
            Assert.Skip("Windows has other permissions");
            return;
        }
        Directory.CreateDirectory(Kernels, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupRead);
        AssertInMemoryOnly(Kernels, $"{Kernels} is open to others; chmod 700 it");
        Assert.Empty(Directory.GetFiles(Kernels));
    }

    [Fact]
    public void AFolderThatCannotBeMadeIsDoneWithout()
    {
        _folder.Write("file", "");
        AssertInMemoryOnly(_folder["file/kernels"], _folder["file"]);
    }

    [Fact]
    public void AFileThatCannotBeWrittenIsDoneWithout()
    {
        int made = 0;
        KernelCache cache = New();
        Directory.Delete(Kernels);
        Assert.Equal(Bytes(1), Get(cache, 1, ref made));
        Assert.Equal(Bytes(1), Get(cache, 1, ref made));
        Assert.Equal(1, made);
    }

    [Fact]
    public void WhatWasNotUsedForLongestGoesFirst()
    {
        const int size = 1000 + 32;
        int made = 0;
        for (int i = 0; i < 10; i++)
        {
            Get(New(mostBytes: 4 * size), i, ref made);
            foreach (string file in Directory.GetFiles(Kernels)) File.SetLastAccessTimeUtc(file, File.GetLastAccessTimeUtc(file).AddSeconds(-10));
            // The first one is used all the time.
            Get(New(mostBytes: 4 * size), 0, ref made);
            Assert.InRange(Directory.GetFiles(Kernels).Sum(file => new FileInfo(file).Length), size, 4 * size);
        }
        Assert.Equal(10, made);
    }

    [Fact]
    public void SeveralProcessesMayUseOneFolder()
    {
        // Each cache stands for a process: they share nothing but the folder.
        var wrong = new ConcurrentQueue<int>();
        Parallel.For(0, 8, _ =>
        {
            for (int round = 0; round < 20; round++)
            {
                KernelCache cache = New(mostBytes: 20_000);
                for (int i = 0; i < 30; i++)
                {
                    int unused = 0;
                    if (!Get(cache, i, ref unused).SequenceEqual(Bytes(i))) wrong.Enqueue(i);
                }
            }
        });
        Assert.Empty(wrong);
        Assert.DoesNotContain(Directory.GetFiles(Kernels), file => file.EndsWith(".tmp", StringComparison.Ordinal));
    }

    [Fact]
    public void TheFolderIsChosenByTheEnvironment()
    {
        string? before = Environment.GetEnvironmentVariable(KernelCache.Variable);
        try
        {
            Environment.SetEnvironmentVariable(KernelCache.Variable, Kernels);
            Assert.Equal(Kernels, KernelCache.DefaultFolder());
        }
        finally
        {
            Environment.SetEnvironmentVariable(KernelCache.Variable, before);
        }
    }

    [Fact]
    public void ASecondProcessCompilesNothing()
    {
        TestDevices.Cuda();
        (int ExitCode, string Output, string Error) first = CudaTarget.Start("kernels", (KernelCache.Variable, Kernels));
        Assert.True(first is (0, "100\n", _), first.Error);
        string[] files = Directory.GetFiles(Kernels);
        Assert.NotEmpty(files);
        DateTime[] written = [.. files.Select(File.GetLastWriteTimeUtc)];
        (int ExitCode, string Output, string Error) second = CudaTarget.Start("kernels", (KernelCache.Variable, Kernels));
        Assert.True(second is (0, "100\n", _), second.Error);
        Assert.Equal(files, Directory.GetFiles(Kernels));
        Assert.Equal(written, files.Select(File.GetLastWriteTimeUtc));
    }

    private static void AssertInMemoryOnly(string folder, string why)
    {
        var cache = new KernelCache("test", folder);
        Assert.Null(cache.Folder);
        Assert.StartsWith("compiled kernels are not kept on the disk: ", cache.Warning, StringComparison.Ordinal);
        Assert.Contains(why, cache.Warning, StringComparison.Ordinal);
        int made = 0;
        Assert.Equal(Bytes(1), Get(cache, 1, ref made));
        Get(cache, 1, ref made);
        Assert.Equal(1, made);
    }

    private KernelCache New(long mostBytes = 1 << 20)
    {
        var cache = new KernelCache("test", Kernels, mostBytes);
        Assert.Null(cache.Warning);
        return cache;
    }

    private static byte[] Get(KernelCache cache, int number, ref int made)
    {
        int count = 0;
        byte[] bytes = cache.GetOrAdd(Source, [$"N={number}"], Architecture, () =>
        {
            count++;
            return Bytes(number);
        });
        made += count;
        return bytes;
    }

    private static byte[] Bytes(int number) => [.. Enumerable.Range(0, 1000).Select(i => (byte)(i * (number + 3)))];

    private string OneFile() => Assert.Single(Directory.GetFiles(Kernels));
}
