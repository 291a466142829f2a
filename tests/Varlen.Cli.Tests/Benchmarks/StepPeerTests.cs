using System.Text.Json;
using Varlen.Cli.Benchmarks;
using Varlen.Cli.Terminal;
using Xunit;

namespace Varlen.Cli.Tests.Benchmarks;

/// <summary>How a peer is started, asked and read, with a shell in the interpreter's place.</summary>
public sealed class StepPeerTests
{
    private static readonly StepWorkload Workload = new(new LengthsSpec("tiny", [3, 0, 2]), 1, 4, 2, 7, 4, Device.Cpu, DType.Float32, 0);
    private const string Hello = """echo '{"framework": "PyTorch 9", "variants": {"packed": ["eager", "compile"], "padded": ["eager"]}}'""";

    [Fact]
    public void Each_round_asks_for_one_step_of_each_case()
    {
        using var folder = new TemporaryFolder();
        string python = Interpreter(folder, $$"""
            cp "$3/workload.json" "$0.workload"
            ls "$3" > "$0.files"
            echo "$1 $2" > "$0.arguments"
            echo loading
            {{Hello}}
            n=0
            while read line; do
              echo "$line" >> "$0.asked"
              n=$((n + 1))
              case "$line" in *compile) echo '{"error": "no compiler"}';; *) echo "{\"ms\": $n, \"loss\": 2.5, \"peak_bytes\": 7}";; esac
            done
            """);
        StepResult result = StepBenchmark.Run(Workload, [StepMode.Train], [StepStrategy.Packed, StepStrategy.Padded, StepStrategy.PaddedUnpad], new StepRounds(1, 2), python);
        Assert.Equal(["train:packed:eager", "train:packed:compile", "train:padded:eager", "train:packed:eager", "train:padded:eager", "train:packed:eager", "train:padded:eager"], File.ReadAllLines(python + ".asked"));
        Assert.Equal(["packed", "padded"], result.Peers.Select(row => row.Strategy.Name));
        // The first round only warms up; answers are numbered.
        Assert.Equal([4, 6], result.Peers[0].Milliseconds);
        Assert.Equal(("PyTorch 9", "eager", 7, 5, 12), (result.Peers[1].Framework, result.Peers[1].Variant, result.Peers[1].PeakBytes, result.Peers[1].RealTokens, result.Peers[1].Rows));
        Assert.Equal(["train packed compile: no compiler"], result.Missing);
        Assert.EndsWith("steps.py --serve\n", File.ReadAllText(python + ".arguments"), StringComparison.Ordinal);
        Assert.Contains("model.safetensors", File.ReadAllLines(python + ".files"));
        JsonElement workload = JsonDocument.Parse(File.ReadAllText(python + ".workload")).RootElement;
        // As many ids as tokens and one more, of sequences that are not empty.
        Assert.Equal([4, 0, 3], workload.GetProperty("batches")[0].EnumerateArray().Select(sequence => sequence.GetArrayLength()));
        Assert.Equal((4, 7, "adamw", 1e-4), (workload.GetProperty("context").GetInt32(), workload.GetProperty("vocabulary").GetInt32(), workload.GetProperty("optimizer").GetString(), workload.GetProperty("lr").GetDouble()));
    }

    [Fact]
    public void GPT2_gets_its_own_ids_and_HuggingFaces_script()
    {
        using var folder = new TemporaryFolder();
        string python = Interpreter(folder, $$"""
            cp "$3/workload.json" "$0.workload"
            ls "$3" > "$0.files"
            echo "$1" > "$0.arguments"
            {{Hello}}
            while read line; do echo '{"ms": 1, "loss": 2}'; done
            """);
        StepBenchmark.Run(Workload with { Model = StepModel.Gpt2 }, [StepMode.Evaluate], [StepStrategy.Flattened], new StepRounds(0, 1), python);
        Assert.EndsWith("hf_gpt2.py\n", File.ReadAllText(python + ".arguments"), StringComparison.Ordinal);
        Assert.Equal([3, 0, 2], JsonDocument.Parse(File.ReadAllText(python + ".workload")).RootElement.GetProperty("batches")[0].EnumerateArray().Select(sequence => sequence.GetArrayLength()));
        Assert.Contains("config.json", File.ReadAllLines(python + ".files"));
    }

    [Theory]
    [InlineData("echo 'Traceback' >&2; echo \"ModuleNotFoundError: No module named 'torch'\" >&2; exit 1", "ModuleNotFoundError: No module named 'torch' (status 1)")]
    [InlineData("echo nothing", "it printed nothing (status 0)")]
    [InlineData("echo '{\"ms\": 3}'", "it did not say what it is")]
    [InlineData("echo '{\"ms\": '", "it answered {\"ms\": ")]
    public void Failure_says_what_the_peer_said(string script, string why)
    {
        using var folder = new TemporaryFolder();
        string python = Interpreter(folder, script);
        var error = Assert.Throws<CommandException>(() => StepPeer.Start(python, Workload).Dispose());
        Assert.Equal((ExitCode.DeviceUnavailable, why), (error.Code, error.Why));
        Assert.StartsWith(python, error.Where, StringComparison.Ordinal);
    }

    [Fact]
    public void End_within_a_run_is_a_failure()
    {
        using var folder = new TemporaryFolder();
        string python = Interpreter(folder, $"{Hello}\nread line\necho 'Killed' >&2\nexit 9");
        var error = Assert.Throws<CommandException>(() => StepBenchmark.Run(Workload, [StepMode.Train], [StepStrategy.Packed], new StepRounds(0, 1), python));
        Assert.Equal((ExitCode.DeviceUnavailable, "Killed (status 9)"), (error.Code, error.Why));
    }

    [Fact]
    public void Missing_interpreter_is_unreadable()
    {
        using var folder = new TemporaryFolder();
        var error = Assert.Throws<CommandException>(() => StepPeer.Start(folder.File("python3"), Workload));
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
