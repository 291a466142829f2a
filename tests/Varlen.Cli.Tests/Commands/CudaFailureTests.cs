using System.Text.Json;
using Varlen.Cli.Tests.AttentionFiles;
using Xunit;

namespace Varlen.Cli.Tests.Commands;

/// <summary>What the command says and returns when there is no CUDA device, or when it fails. Failures are the emulator's, on request.</summary>
public sealed class CudaFailureTests
{
    [Fact]
    public void Info_shows_devices_libraries_and_where_kernels_are_kept()
    {
        using var folder = new TemporaryFolder();
        CliResult result = Cli.RunEmulated(new Dictionary<string, string> { ["VARLEN_CACHE_DIR"] = folder.File("kernels"), ["VARLEN_EMULATOR_DEVICES"] = "2" }, "info", "--json");
        JsonElement info = result.Json(), cuda = info.GetProperty("cuda");
        Assert.Equal(["cpu", "cuda:0", "cuda:1"], info.GetProperty("devices").EnumerateArray().Select(device => device.GetProperty("name").GetString()));
        Assert.StartsWith("Varlen emulator, compute capability 9.0, ", info.GetProperty("devices")[1].GetProperty("description").GetString(), StringComparison.Ordinal);
        Assert.Equal("13.0", cuda.GetProperty("driver").GetString());
        Assert.Equal(folder.File("kernels"), cuda.GetProperty("kernels").GetString());
        Assert.Equal(3, cuda.GetProperty("libraries").GetArrayLength());
        Assert.All(cuda.GetProperty("libraries").EnumerateArray(), library => Assert.True(File.Exists(library.GetProperty("path").GetString())));
        string[] rows = Cli.RunEmulated(new Dictionary<string, string>(), "info").Output.Split('\n');
        foreach (string row in (string[])["cuda:0 ", "driver ", "library ", "kernels "]) Assert.Contains(rows, line => line.StartsWith(row, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("cuInit:1:803", "are of different versions")]
    [InlineData("cuInit:1:999", "did not start: CUDA_ERROR_UNKNOWN, unknown error")]
    [InlineData("nvrtcVersion:1:1", "does not tell its version")]
    public void A_device_that_is_not_available_is_69_with_the_reason(string failure, string why)
        => Attend("cuda", failure).AssertFails(69, "device cuda:0 is not available", why, "use --device cpu; varlen info lists the devices");

    [Fact]
    public void Exhausted_memory_is_71_with_what_to_change()
        => Attend("cuda", "cuMemAllocAsync:*:2").AssertFails(71, "the device's memory is exhausted", "has no room for ", "lower --batch-tokens, the context or the model");

    [Theory]
    [InlineData("cuMemcpyHtoDAsync_v2:1:700")]
    [InlineData("cuStreamSynchronize:1:719")]
    public void A_fault_is_70_and_loses_the_device(string failure)
        => Attend("cuda", failure).AssertFails(70, "the CUDA device has faulted", "cuda:0 (Varlen emulator) is lost: CUDA_ERROR_", "VARLEN_SYNC=1");

    private static CliResult Attend(string device, string failure)
    {
        using var folder = new TemporaryFolder();
        AttentionFile file = AttentionFile.Random([3, 2], [3, 2], heads: 1, keyHeads: 1, features: 8);
        return Cli.RunEmulated(
            new Dictionary<string, string> { ["VARLEN_EMULATOR_FAIL"] = failure }, "attention", file.Write(folder), folder.File("out.safetensors"), "--device", device, "--dtype", "float32");
    }
}
