using System.Runtime.Intrinsics;
using System.Text.Json;
using Xunit;

namespace Varlen.Cli.Tests.Commands;

public sealed class InfoTests
{
    [Fact]
    public void Text_names_the_version_and_every_device()
    {
        CliResult result = Cli.Run("info");
        Assert.Equal(0, result.ExitCode);
        Assert.Equal("", result.Error);
        foreach (string row in (string[])["version", "runtime", "processor", "vectors", "threads", "cpu", "cuda"])
            Assert.Contains(result.Output.Split('\n'), line => line.StartsWith(row, StringComparison.Ordinal));
    }

    [Fact]
    public void Json_tells_what_is_in_use()
    {
        JsonElement info = Cli.Run("info", "--threads", "3", "--json").Json();
        Assert.Equal("ok", info.GetProperty("status").GetString());
        Assert.Equal(3, info.GetProperty("threads").GetInt32());
        Assert.StartsWith("0.", info.GetProperty("version").GetString(), StringComparison.Ordinal);
        // The child runs on the same machine with the same variables.
        int bits = Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : 128;
        Assert.Equal(bits, info.GetProperty("vector_bits").GetInt32());
        JsonElement[] devices = [.. info.GetProperty("devices").EnumerateArray()];
        Assert.True(devices[0].GetProperty("available").GetBoolean());
        Assert.Equal(["driver", "compiler", "kernels", "libraries"], info.GetProperty("cuda").EnumerateObject().Select(property => property.Name));
        Assert.All(devices, device => Assert.NotEqual(device.GetProperty("available").GetBoolean(), device.GetProperty("reason").ValueKind == JsonValueKind.String));
    }
}
