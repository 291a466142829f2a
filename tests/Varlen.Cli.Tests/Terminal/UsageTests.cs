using System.Text.Json;
using Xunit;

namespace Varlen.Cli.Tests.Terminal;

/// <summary>Command lines that cannot be understood: exit 2, one short message, no page of help.</summary>
public sealed class UsageTests
{
    [Theory]
    [InlineData("no command given", "attention, audit, bench, evaluate")]
    [InlineData("unknown command inf", "did you mean info?", "inf")]
    [InlineData("unknown command wombat", "see varlen --help", "wombat")]
    [InlineData("unknown option --thread", "did you mean --threads?", "info", "--thread", "2")]
    [InlineData("unknown option --wombat", "see varlen info --help", "info", "--wombat")]
    [InlineData("unexpected argument 'x'", "see varlen info --help", "info", "x")]
    [InlineData("unexpected argument '--threads'", "see varlen info --help", "info", "--", "--threads")]
    [InlineData("Required argument missing", "--threads", "info", "--threads")]
    [InlineData("--threads cannot be '0'", "a whole number from 1 to 1024", "info", "--threads", "0")]
    [InlineData("--threads cannot be '2.5'", "a whole number from 1 to 1024", "info", "--threads", "2.5")]
    [InlineData("--threads cannot be '-1'", "a whole number from 1 to 1024", "info", "--threads", "-1")]
    [InlineData("Option '--threads'", "2 were provided", "info", "--threads", "1", "--threads", "2")]
    [InlineData("unknown option --windw", "did you mean --window?", "attention", "--windw", "1,2", "in", "out")]
    [InlineData("Required argument 'OUT' missing for command", "see varlen attention --help", "attention", "in")]
    [InlineData("unknown command matmull", "did you mean matmul?", "bench", "matmull")]
    public void Wrong_usage_is_named_and_exits_with_2(string what, string fix, params string[] args)
        => Cli.Run(args).AssertFails(2, what, fix);

    [Fact]
    public void Json_reports_errors_as_one_object_and_still_on_the_error_stream()
    {
        CliResult result = Cli.Run("info", "--threads", "x", "--json");
        result.AssertFails(2, "--threads cannot be 'x'");
        JsonElement root = result.Json();
        Assert.Equal("error", root.GetProperty("status").GetString());
        Assert.Equal(2, root.GetProperty("exit").GetInt32());
        JsonElement error = root.GetProperty("error");
        Assert.Equal("usage", error.GetProperty("code").GetString());
        Assert.Equal("--threads cannot be 'x'", error.GetProperty("what").GetString());
        Assert.Equal("give a whole number from 1 to 1024", error.GetProperty("fix").GetString());
    }

    [Theory]
    [InlineData("--help")]
    [InlineData("info", "--help")]
    [InlineData("attention", "--help")]
    [InlineData("bench", "--help")]
    public void Help_goes_to_the_output_and_succeeds(params string[] args)
    {
        CliResult result = Cli.Run(args);
        Assert.Equal(0, result.ExitCode);
        Assert.Equal("", result.Error);
        Assert.Contains("Usage:", result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Version_is_printed_alone()
    {
        CliResult result = Cli.Run("--version");
        Assert.Equal(0, result.ExitCode);
        Assert.Matches(@"^\d+\.\d+\.\d+\S*\n$", result.Output);
    }
}
