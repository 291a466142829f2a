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
        Assert.True(result.ExitCode == 0, result.Error);
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

    [Fact]
    public void Attention_rows_have_the_keys_that_peers_print()
    {
        using var folder = new TemporaryFolder();
        string lengths = folder.Write("tiny.txt", "3\n0\n5\n");
        CliResult result = Cli.Run("bench", "attention", "--lengths", lengths, "--heads", "4", "--kv-heads", "2", "--head-dim", "8", "--window", "-1,0", "--rounds", "1", "--json");
        Assert.True(result.ExitCode == 0, result.Error);
        JsonElement[] lines = [.. result.Output.TrimEnd('\n').Split('\n').Select(line => JsonDocument.Parse(line).RootElement)];
        JsonElement row = lines[0];
        Assert.Equal(("tiny", "varlen"), (row.GetProperty("workload").GetString(), row.GetProperty("peer").GetString()));
        Assert.Equal((4, 2, 8, 8), (row.GetProperty("hq").GetInt32(), row.GetProperty("hkv").GetInt32(), row.GetProperty("d").GetInt32(), row.GetProperty("tokens").GetInt32()));
        Assert.True(row.GetProperty("causal").GetBoolean());
        foreach (string key in (string[])["fwd_ms", "bwd_ms", "fwd_tflops", "bwd_tflops"]) Assert.True(row.TryGetProperty(key, out _), key);
        Assert.Equal("attention", lines[1].GetProperty("summary").GetString());
        Assert.Equal(2, lines.Length);
    }

    [Fact]
    public void Attention_times_every_mask_on_every_mix_of_lengths()
    {
        CliResult result = Cli.Run("bench", "attention", "--lengths", "fixed:4x2", "--lengths", "uniform:1..9x3", "--heads", "2", "--head-dim", "4", "--rounds", "1", "--json");
        Assert.True(result.ExitCode == 0, result.Error);
        JsonElement[] lines = [.. result.Output.TrimEnd('\n').Split('\n').Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.Equal(["fixed:4x2 [-1,-1]", "fixed:4x2 [-1,0]", "fixed:4x2 [256,0]", "uniform:1..9x3 [-1,-1]", "uniform:1..9x3 [-1,0]", "uniform:1..9x3 [256,0]"],
            lines[..^1].Select(row => $"{row.GetProperty("workload").GetString()} {row.GetProperty("window").GetRawText()}"));
        Assert.All(lines[..^1], row => Assert.True(row.GetProperty("fwd_ms").GetDouble() >= 0 && row.GetProperty("bwd_ms").GetDouble() >= 0));
        Assert.True(lines[^1].GetProperty("copy_gb_s").GetDouble() > 0);
    }

    [Fact]
    public void Gpt2_times_its_ways_and_they_agree()
    {
        CliResult result = Cli.Run("bench", "gpt2", "--layers", "1", "--width", "8", "--heads", "2", "--vocabulary", "13", "--rounds", "1", "--warmup", "0", "--lengths", "uniform:1..9x4", "--json");
        Assert.True(result.ExitCode == 0, result.Error);
        JsonElement[] lines = [.. result.Output.TrimEnd('\n').Split('\n').Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.Equal(["eval flattened", "eval padded", "eval padded-longest", "eval padded-unpad", "train flattened", "train padded", "train padded-longest", "train padded-unpad"],
            lines[..^1].Select(row => $"{row.GetProperty("mode").GetString()} {row.GetProperty("strategy").GetString()}"));
        Assert.Equal(("gpt2", "gpt2", "sgd", true), (lines[^1].GetProperty("summary").GetString(), lines[^1].GetProperty("model").GetString(), lines[^1].GetProperty("optimizer").GetString(), lines[^1].GetProperty("losses_agree").GetBoolean()));
        // The first token of a sequence has no label, and a batch of such tokens nothing to learn.
        Cli.Run("bench", "gpt2", "--lengths", "fixed:1x3").AssertFails(2, "there is nothing to measure");
    }

    [Fact]
    public void Attention_in_eval_mode_times_no_backward_pass()
    {
        CliResult result = Cli.Run("bench", "attention", "--lengths", "fixed:4x2", "--heads", "2", "--head-dim", "4", "--mode", "eval", "--rounds", "1", "--json");
        JsonElement row = JsonDocument.Parse(result.Output.Split('\n')[0]).RootElement;
        Assert.Equal("fixed:4x2", row.GetProperty("workload").GetString());
        Assert.Equal(JsonValueKind.Null, row.GetProperty("bwd_ms").ValueKind);
        Assert.False(row.GetProperty("causal").GetBoolean());
    }

    [Theory]
    [InlineData(2, "4 query heads cannot share 3 key heads", "--heads", "4", "--kv-heads", "3")]
    [InlineData(2, "--lengths cannot be 'unifrom:1..3x4'", "--lengths", "unifrom:1..3x4")]
    [InlineData(2, "--seed cannot be '-1'", "--seed", "-1")]
    [InlineData(2, "--dtype does not know 'float64'", "--dtype", "float64")]
    [InlineData(2, "--mode does not know 'training'", "--mode", "training")]
    [InlineData(2, "--kernels does not know 'best'", "--kernels", "best")]
    [InlineData(2, "--kernels chooses among kernels of a GPU", "--kernels", "portable")]
    [InlineData(2, "--kernels chooses among kernels of a GPU", "--kernels", "auto")]
    [InlineData(66, "cannot read the lengths", "--lengths", "no-such-file.txt")]
    [InlineData(69, "device cuda:1 is not available", "--device", "cuda:1")]
    public void Attention_refuses_what_it_cannot_time(int code, string what, params string[] flags)
        => Cli.Run(["bench", "attention", .. flags]).AssertFails(code, what);
}
