using System.Text.Json;
using Xunit;

namespace Varlen.Cli.Tests.Commands;

/// <summary>The shape of what bench step prints, and what it refuses; never its figures.</summary>
public sealed class BenchStepTests
{
    private static readonly string[] Small = ["--layers", "1", "--width", "8", "--heads", "2", "--vocabulary", "13", "--rounds", "1", "--warmup", "1"];

    [Fact]
    public void Rows_have_the_keys_that_peers_print()
    {
        using var folder = new TemporaryFolder();
        CliResult result = Cli.Run(["bench", "step", .. Small, "--lengths", folder.Write("tiny.txt", "3\n0\n5\n"), "--strategy", "all", "--threads", "1", "--json"]);
        Assert.True(result.ExitCode == 0, result.Error);
        JsonElement[] lines = [.. result.Output.TrimEnd('\n').Split('\n').Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.Equal(17, lines.Length);
        foreach (JsonElement row in lines[..^1])
        {
            foreach (string key in (string[])["ms", "min_ms", "q1_ms", "q3_ms", "max_ms", "mean_ms", "upload_ms", "tok_per_s", "peak_gib", "times_packed", "counted_times_packed", "of_counted"])
                Assert.True(row.GetProperty(key).GetDouble() > 0, key);
            Assert.Equal(("varlen", 8, 1), (row.GetProperty("peer").GetString(), row.GetProperty("real_tokens").GetInt32(), row.GetProperty("threads").GetInt32()));
            JsonElement first = lines.First(other => other.GetProperty("mode").GetString() == row.GetProperty("mode").GetString());
            foreach (string key in (string[])["loss", "last_loss"]) Assert.Equal(first.GetProperty(key).GetDouble(), row.GetProperty(key).GetDouble(), 1e-3);
        }
        Assert.Equal(["eval", "train"], lines[..^1].Select(row => row.GetProperty("mode").GetString()).Distinct());
        Assert.Equal([8, 24, 15, 24, 8, 8, 8, 8], lines[..8].Select(row => row.GetProperty("rows").GetInt32()));
        Assert.Equal(("step", "tiny", 8, true), (lines[^1].GetProperty("summary").GetString(), lines[^1].GetProperty("workload").GetString(), lines[^1].GetProperty("context").GetInt32(), lines[^1].GetProperty("losses_agree").GetBoolean()));
    }

    [Theory]
    [InlineData("float64")]
    [InlineData("bfloat16")]
    [InlineData("float16")]
    public void One_mode_and_one_strategy_run_in_every_type(string dtype)
    {
        CliResult result = Cli.Run(["bench", "step", .. Small, "--lengths", "fixed:4x2", "--mode", "train", "--strategy", "padded", "--context", "6", "--dtype", dtype, "--json"]);
        Assert.True(result.ExitCode == 0, result.Error);
        string[] lines = result.Output.TrimEnd('\n').Split('\n');
        Assert.Equal(2, lines.Length);
        JsonElement row = JsonDocument.Parse(lines[0]).RootElement;
        Assert.Equal(("train", "padded", 12), (row.GetProperty("mode").GetString(), row.GetProperty("strategy").GetString(), row.GetProperty("rows").GetInt32()));
        Assert.Equal(JsonValueKind.Null, row.GetProperty("times_packed").ValueKind);
        Assert.Equal(dtype, JsonDocument.Parse(lines[1]).RootElement.GetProperty("dtype").GetString());
    }

    [Fact]
    public void Prints_a_table_without_json()
    {
        CliResult result = Cli.Run(["bench", "step", .. Small, "--lengths", "uniform:1..9x3", "--seed", "5"]);
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.StartsWith("uniform:1..9x3: ", result.Output, StringComparison.Ordinal);
        foreach (string text in (string[])["eval packed ", "train padded ", "train: packed is ", "all strategies have the same loss\n"]) Assert.Contains(text, result.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(2, "--strategy does not know 'pad'", "--strategy", "packed,pad")]
    [InlineData(2, "--mode does not know 'training'", "--mode", "training")]
    [InlineData(2, "width 256 cannot be split into 3 heads", "--heads", "3")]
    [InlineData(2, "width 1024 in 2 heads makes heads of 512", "--width", "1024", "--heads", "2")]
    [InlineData(2, "--context 243 is too short", "--context", "243")]
    [InlineData(2, "there is nothing to measure", "--lengths", "fixed:0x3")]
    [InlineData(2, "--vocabulary cannot be '1'", "--vocabulary", "1")]
    [InlineData(2, "strategy padded makes 4294967296 rows", "--lengths", "fixed:1x4096", "--context", "1048576")]
    [InlineData(2, "a dense mask over 46341 tokens", "--lengths", "fixed:46341x1", "--strategy", "dense-mask")]
    [InlineData(2, "--lengths cannot be 'lognormal:9,1..5x4'", "--lengths", "lognormal:9,1..5x4")]
    [InlineData(66, "cannot start the peer", "--peer", "no-such-python", "--layers", "1", "--width", "8", "--vocabulary", "5")]
    [InlineData(73, "cannot write the output", "--report", "/dev/null/report")]
    [InlineData(66, "cannot read the lengths", "--lengths", "no-such-file.txt")]
    [InlineData(69, "device cuda:1 is not available", "--device", "cuda:1")]
    public void Refuses_what_it_cannot_time(int code, string what, params string[] flags)
        => Cli.Run(["bench", "step", .. flags]).AssertFails(code, what);
}
