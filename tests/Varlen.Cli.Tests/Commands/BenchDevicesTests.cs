using System.Text.Json;
using Xunit;

namespace Varlen.Cli.Tests.Commands;

/// <summary>varlen bench devices.</summary>
public sealed class BenchDevicesTests
{
    [Fact]
    public void Without_a_GPU_it_says_so() => Cli.Run("bench", "devices").AssertFails(69, "there is no GPU to time", "varlen info");

    [Fact]
    public void Every_device_has_a_row()
    {
        using var folder = new TemporaryFolder();
        CliResult result = Cli.RunEmulated(new Dictionary<string, string> { ["VARLEN_CACHE_DIR"] = folder.File("kernels"), ["VARLEN_EMULATOR_DEVICES"] = "2" },
            "bench", "devices", "--lengths", "fixed:4x2", "--layers", "1", "--width", "32", "--heads", "2", "--vocabulary", "64", "--rounds", "2", "--warmup", "1", "--json");
        Assert.True(result.ExitCode == 0, result.Error);
        JsonElement[] rows = [.. result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.Equal(["cuda:0", "cuda:1"], rows.Select(row => row.GetProperty("device").GetString()));
        Assert.All(rows, row =>
        {
            Assert.Equal(2, row.GetProperty("devices").GetInt32());
            Assert.Equal(8, row.GetProperty("real_tokens").GetInt32());
            Assert.Equal(row.GetProperty("alone_ms").GetDouble() / row.GetProperty("together_ms").GetDouble(), row.GetProperty("ratio").GetDouble(), 0.01);
        });
    }
}
