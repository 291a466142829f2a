using System.Text.Json;
using Xunit;

namespace Varlen.Cli.Tests.Commands;

/// <summary>The shape of benchmark output; never its figures.</summary>
public sealed class BenchTests
{
    [Fact]
    public void Ops_prints_a_row_per_step_and_a_summary()
    {
        CliResult result = Cli.Run("bench", "ops", "--tokens", "16", "--features", "32", "--rounds", "1", "--threads", "1", "--json");
        Assert.Equal("", result.Error);
        Assert.Equal(0, result.ExitCode);
        JsonElement[] lines = [.. result.Output.TrimEnd('\n').Split('\n').Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.True(lines.Length > 3);
        foreach (JsonElement row in lines[..^1])
        {
            Assert.NotEqual("", row.GetProperty("op").GetString());
            Assert.True(row.GetProperty("bytes").GetInt64() >= 16 * 32 * 4);
            Assert.True(row.GetProperty("gb_s").GetDouble() >= 0);
            Assert.True(row.GetProperty("ratio").GetDouble() >= 0);
            Assert.Equal(1, row.GetProperty("threads").GetInt32());
        }
        Assert.Equal(lines.Length - 1, lines[..^1].Select(row => row.GetProperty("op").GetString()).Distinct().Count());
        Assert.Equal("ops", lines[^1].GetProperty("summary").GetString());
        Assert.Equal(16, lines[^1].GetProperty("tokens").GetInt32());
        Assert.True(lines[^1].GetProperty("copy_gb_s").GetDouble() > 0);
    }

    [Fact]
    public void Ops_prints_a_table_without_json()
    {
        CliResult result = Cli.Run("bench", "ops", "--tokens", "4", "--features", "8", "--rounds", "1");
        Assert.Equal(0, result.ExitCode);
        Assert.StartsWith("op ", result.Output, StringComparison.Ordinal);
        Assert.Contains("layer_norm backward", result.Output, StringComparison.Ordinal);
    }
}
