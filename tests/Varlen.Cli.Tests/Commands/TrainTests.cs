using Xunit;

namespace Varlen.Cli.Tests.Commands;

/// <summary>varlen train on small texts.</summary>
public sealed class TrainTests
{
    private static string[] Quick(params string[] args) => ["train", .. args, "--steps", "12", "--batch-tokens", "256", "--context", "32", "--lr", "0.001"];

    [Fact]
    public void TrainsOnAFolderSavesAModelAndWritesASample()
    {
        using var folder = new TemporaryFolder();
        folder.Write("one.txt", string.Concat(Enumerable.Repeat("to be or not to be, ", 40)));
        folder.Write("two.md", "that is the question");
        CliResult result = Cli.Run(Quick(folder.Path, "--out", folder.File("run")));
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.StartsWith("to be or not to ", result.Output, StringComparison.Ordinal);
        Assert.Contains("data   2 documents", result.Error, StringComparison.Ordinal);
        double[] losses = [.. result.Error.Split('\n').Where(line => line.StartsWith("step", StringComparison.Ordinal))
            .Select(line => double.Parse(line.Split("loss ")[1].Split(' ')[0], System.Globalization.CultureInfo.InvariantCulture))];
        Assert.Equal(12, losses.Length);
        Assert.True(losses[^1] < losses[0] - 1, result.Error);
        using SafetensorsFile model = SafetensorsFile.Open(folder.File("run/model.safetensors"));
        Assert.Contains("blocks.3.fc2.weight", model.Names);
    }

    [Fact]
    public void TheSameSeedGivesTheSameBitsOnAnyNumberOfThreads()
    {
        using var folder = new TemporaryFolder();
        string text = folder.Write("text.txt", string.Concat(Enumerable.Range(0, 300)));
        foreach (string threads in new[] { "1", "2" })
        {
            CliResult result = Cli.Run(Quick(text, "--threads", threads, "--out", folder.File(threads), "--json"));
            Assert.True(result.ExitCode == 0, result.Error);
            Assert.True(result.Json().GetProperty("last_loss").GetDouble() < result.Json().GetProperty("first_loss").GetDouble());
        }
        Assert.Equal(File.ReadAllBytes(folder.File("1/model.safetensors")), File.ReadAllBytes(folder.File("2/model.safetensors")));
    }

    [Fact]
    public void MistakesAreNamed()
    {
        using var folder = new TemporaryFolder();
        Cli.Run(Quick(folder.File("missing"))).AssertFails(66, "cannot read the data", "neither a file nor a folder");
        Cli.Run(Quick(folder.Path)).AssertFails(65, "there is nothing to train on", "no text found");
        string text = folder.Write("text.txt", "some text");
        Cli.Run("train", text, "--context", "512", "--batch-tokens", "256").AssertFails(2, "--context 512 is more than --batch-tokens 256");
        Cli.Run("train", text, "--device", "cuda").AssertFails(69, "device cuda:0 is not available");
        Cli.Run("train", text, "--out", Path.Combine(text, "below")).AssertFails(73, "cannot write the output");
        Cli.Run("train").AssertFails(2, "");
    }
}
