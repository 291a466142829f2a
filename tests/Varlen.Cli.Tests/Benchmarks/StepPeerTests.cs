using Varlen.Cli.Benchmarks;
using Varlen.Cli.Terminal;
using Xunit;

namespace Varlen.Cli.Tests.Benchmarks;

/// <summary>How a peer is started and read, with a shell in the interpreter's place.</summary>
public sealed class StepPeerTests
{
    private static readonly StepWorkload Workload = new(StepWorkload.DefaultLengths, 4, 256, 4, 4096, 256, Device.Cpu, DType.Float32, 0);

    [Fact]
    public void Figures_and_arguments_pass_through()
    {
        using var folder = new TemporaryFolder();
        string python = Interpreter(folder, """
            echo "$# $2 $3 $4 $5" > "$0.arguments"
            echo loading
            echo '{"cpu_gpt": "packed", "threads": 2, "tokens": 2285, "ms": 12.5, "min_ms": 11.0}'
            echo "packed: 12.5 ms"
            """);
        StepPeerBlock block = new StepPeer(python, Workload with { Vocabulary = 99 }, 2).Run(StepStrategy.Packed, 6, 3);
        Assert.Equal(new StepPeerBlock(StepStrategy.Packed, 6, 3, 12.5, 11), block);
        Assert.Equal("5 2 packed 3 99\n", File.ReadAllText(python + ".arguments"));
    }

    [Theory]
    [InlineData("echo 'Traceback' >&2; echo \"ModuleNotFoundError: No module named 'torch'\" >&2; exit 1", "ModuleNotFoundError: No module named 'torch' (status 1)")]
    [InlineData("echo nothing", "it printed no figures")]
    [InlineData("echo '{\"ms\": 3}'", "it printed no figures")]
    [InlineData("echo '{\"ms\": '", "it printed no figures")]
    [InlineData("echo '{\"tokens\": 7, \"ms\": 3, \"min_ms\": 2}'", "it reports 7 tokens, the batch has 2285")]
    public void Failure_says_what_the_peer_said(string script, string why)
    {
        using var folder = new TemporaryFolder();
        string python = Interpreter(folder, script);
        var error = Assert.Throws<CommandException>(() => new StepPeer(python, Workload, 1).Run(StepStrategy.Padded, 0, 1));
        Assert.Equal((ExitCode.DeviceUnavailable, why), (error.Code, error.Why));
        Assert.StartsWith(python, error.Where, StringComparison.Ordinal);
    }

    [Fact]
    public void Missing_interpreter_is_unreadable()
    {
        using var folder = new TemporaryFolder();
        var error = Assert.Throws<CommandException>(() => new StepPeer(folder.File("python3"), Workload, 1).Run(StepStrategy.Packed, 0, 1));
        Assert.Equal((ExitCode.InputUnreadable, folder.File("python3")), (error.Code, error.Where));
    }

    private static string Interpreter(TemporaryFolder folder, string script)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs a shell");
        string path = folder.Write("python3", $"#!/bin/sh\n{script}\n");
        if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        return path;
    }
}
