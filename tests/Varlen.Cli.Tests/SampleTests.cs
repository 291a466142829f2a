using System.Diagnostics;
using Varlen.Models;
using Xunit;

namespace Varlen.Cli.Tests;

/// <summary>The samples run as they are shown.</summary>
public sealed class SampleTests
{
    [Fact]
    public void TheTutorialPrintsItsDocumentedFigures()
    {
        string[] lines = Run("VarlenTutorial", Environment.CurrentDirectory);
        Assert.Equal("cu_seq: [0, 32, 47, 64, 92, 103, 128, 168, 177, 192], max_len: 40", lines[0]);
        Assert.Equal("output shape: [3, 64, 128]", lines[1]);
        Assert.StartsWith("loss: ", lines[2], StringComparison.Ordinal);
    }

    [Fact]
    public void TheTutorialPrintsTheSameOnAGpu()
    {
        CliResult result = Cli.RunEmulated(new ProcessStartInfo(Program("VarlenTutorial"), ["--device", "cuda"]), new Dictionary<string, string>());
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.Equal(Run("VarlenTutorial", Environment.CurrentDirectory), result.Output.Split('\n'));
    }

    [Fact]
    public void AttentionPrintsWhatItPromises() => Assert.Equal(
    [
        "cu_seqlens: [0, 5, 8, 15], longest 7",
        "output [15, 12, 64], its gradient reaches 11520 values of the queries",
        "the second sequence alone has the same bits: True",
        "two halves of the keys, joined by their log-sum-exp, differ from the whole by less than 1e-5: True",
        "",
    ], Run("Attention", Environment.CurrentDirectory));

    [Fact]
    public void TrainOnTextLearnsSavesAndWrites()
    {
        using TemporaryFolder folder = Documents.Workplace();
        string[] lines = Run("TrainOnText", folder.Path, "texts", "24");
        double[] losses = [.. lines.Take(24).Select((line, i) =>
        {
            Assert.StartsWith($"step {i + 1}, loss ", line, StringComparison.Ordinal);
            return double.Parse(line.Split(' ')[^1], System.Globalization.CultureInfo.InvariantCulture);
        })];
        Assert.True(losses[^1] < losses[0] - 1, string.Join(' ', losses));
        Assert.Matches(@"^held-out text: \d\.\d\d bits a byte$", lines[24]);
        using var model = Gpt2Model.FromPretrained(folder.File("model"));
        Assert.Equal(Text.Tokenizer.Load(folder.File("model")).VocabularySize, model.VocabularySize);
    }

    private static string Program(string sample)
    {
        string folder = AppContext.BaseDirectory.TrimEnd(Path.DirectorySeparatorChar);
        return Path.Combine(folder, "..", "..", sample, Path.GetFileName(folder), OperatingSystem.IsWindows() ? $"{sample}.exe" : sample);
    }

    private static string[] Run(string sample, string workingFolder, params string[] args)
    {
        using Process process = Process.Start(new ProcessStartInfo(Program(sample), args) { RedirectStandardOutput = true, WorkingDirectory = workingFolder })!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
        return output.Split('\n');
    }
}
