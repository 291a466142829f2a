using Xunit;

namespace Varlen.Cli.Tests;

/// <summary>What docs/training.md promises of stopping and going on.</summary>
public sealed class ResumeTests
{
    private static readonly string[] Files =
        ["model/model.safetensors", "checkpoints/step-00000006/model.safetensors", "checkpoints/step-00000006/optimizer.safetensors", "samples.txt"];

    [Fact]
    public void AStoppedRunEndsWithTheBitsOfOneThatNeverStoppedOnAnyNumberOfThreads()
    {
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        using var folder = new TemporaryFolder();
        folder.Write("texts.jsonl", string.Concat(Enumerable.Range(0, 40).Select(_ => $"{{\"text\":\"{string.Concat(Enumerable.Range(0, random.Next(1, 90)).Select(_ => (char)random.Next('a', 'z')))}\"}}\n")));
        string[] plan = ["train", "texts.jsonl", "--steps", "6", "--context", "32", "--batch-tokens", "128", "--micro-batches", "2", "--evaluate-every", "3", "--save-every", "2", "--seed", $"{seed}"];

        Run("--threads", "1", "--out", "whole");
        Run("--threads", "2", "--out", "parts", "--stop-after", $"{random.Next(1, 4)}");
        Assert.False(File.Exists(folder.File("parts/model/model.safetensors")));
        plan = ["train", "--resume", "parts"];
        Run("--threads", "1", "--stop-after", "5");
        Run("--threads", "2");

        foreach (string file in Files)
            Assert.True(File.ReadAllBytes(folder.File($"whole/{file}")).AsSpan().SequenceEqual(File.ReadAllBytes(folder.File($"parts/{file}"))), $"{file} differs, seed {seed}");
        Assert.Equal(Enumerable.Range(1, 6).Select(step => $"{step}"), File.ReadLines(folder.File("parts/metrics.csv")).Skip(1).Select(line => line.Split(',')[0]));

        void Run(params string[] more)
        {
            CliResult result = Cli.RunIn(folder.Path, [.. plan, .. more]);
            Assert.True(result.ExitCode == 0, $"seed {seed}: {result.Error}");
        }
    }

    [Fact]
    public void OtherSettingsAndOtherDataAreRefused()
    {
        using TemporaryFolder folder = Documents.Workplace();
        Assert.Equal(0, Cli.RunIn(folder.Path, "train", "texts", "--steps", "3", "--stop-after", "1", "--out", "run").ExitCode);
        Refused(78, "--seed 2 differs from the run's setting", "train", "--resume", "run", "--seed", "2");
        Refused(73, "the folder holds a run already", "train", "texts", "--steps", "3", "--out", "run");
        folder.Write("texts/0.txt", "something else");
        Refused(78, "the data differs from the run's", "train", "texts", "--resume", "run");

        void Refused(int code, string what, params string[] args)
        {
            CliResult result = Cli.RunIn(folder.Path, args);
            Assert.True(result.ExitCode == code, $"{result.ExitCode}: {result.Error}");
            Assert.Contains($"error: {what}", result.Error, StringComparison.Ordinal);
        }
    }
}
