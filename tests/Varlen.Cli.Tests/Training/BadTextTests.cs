using System.Text;
using Xunit;

namespace Varlen.Cli.Tests.Training;

/// <summary>Texts that are none: refused before training, by file and place, and without a trace in the file system.</summary>
public sealed class BadTextTests : IDisposable
{
    private readonly Workspace _workspace = new();

    public static TheoryData<string, byte[], string, string[]> Files => new()
    {
        { "empty.txt", [], "there is no text", ["empty.txt"] },
        { "binary.txt", [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 62, 9, 7, 1], "the file is no text", ["binary.txt:1", "zero byte"] },
        { "zeros.txt", new byte[5000], "the file is no text", ["zeros.txt:1", "zero byte"] },
        { "latin.txt", [.. "first line\ncaf"u8, 0xE9, .. " au lait\n"u8], "byte 0xE9 is no UTF-8", ["latin.txt:2:4", "iconv"] },
        { "cut.txt", [.. "euro "u8, 0xE2, 0x82], "byte 0xE2 is no UTF-8", ["cut.txt:1:6"] },
        { "wide.txt", Encoding.Unicode.GetPreamble().Concat(Encoding.Unicode.GetBytes("wide text")).ToArray(), "the file is UTF-16LE", ["wide.txt:1:1", "iconv -f UTF-16LE"] },
        { "bare.txt", Encoding.BigEndianUnicode.GetBytes("no mark, but wide"), "the file is UTF-16BE", ["bare.txt:1:1"] },
        { "lines.jsonl", "{\"text\":\"good\"}\n{\"text\":\"bad\n{\"text\":7}\n{\"body\":\"x\"}\n"u8.ToArray(), "3 lines are no valid records", ["lines.jsonl:2", "lines.jsonl:3", "lines.jsonl:4"] },
        { "short.txt", "x"u8.ToArray(), "there is too little text to train on", ["add text"] },
    };

    [Theory]
    [MemberData(nameof(Files))]
    public void AFileIsRefusedByNameAndPlace(string name, byte[] bytes, string what, string[] contains)
    {
        File.WriteAllBytes(_workspace[name], bytes);
        CliResult result = Cli.RunIn(_workspace.Path, _workspace.Arguments(_workspace[name], "runs/new", ["--json"]));
        result.AssertEnds(65, what, contains);
        Assert.Equal((65, what), (result.Json().GetProperty("exit").GetInt32(), result.Json().GetProperty("error").GetProperty("what").GetString()));
        Assert.False(Directory.Exists(_workspace["runs"]), "a folder was left behind");
    }

    [Fact]
    public void FoldersWithoutTextAndMissingDataAreNamedAndWhatWasThereStays()
    {
        Directory.CreateDirectory(_workspace["pictures"]);
        _workspace.Write("pictures/a.png", "png");
        Directory.CreateDirectory(_workspace["mine"]);
        _workspace.Write("mine/notes", "keep me");
        Cli.RunIn(_workspace.Path, _workspace.Arguments(_workspace["pictures"], "mine", [])).AssertEnds(65, "the folder holds no text", "pictures");
        Cli.RunIn(_workspace.Path, _workspace.Arguments(_workspace["absent"], "mine", [])).AssertEnds(66, "a file is missing", "absent", "neither a file nor a folder");
        Cli.RunIn(_workspace.Path, "train", _workspace["texts"], "--model", "huge", "--out", _workspace["mine"]).AssertEnds(2, "there is no model 'huge'");
        Assert.Equal([_workspace["mine/notes"]], Directory.GetFileSystemEntries(_workspace["mine"]));
        Cli.RunIn(_workspace.Path, "train", _workspace["texts"], "--out", _workspace["mine/notes/run"]).AssertEnds(73, "cannot write the output", "notes");
        Cli.Run("train").AssertFails(2, "no data given");
    }

    [Fact]
    public void BadLinesCanBeSkippedAndAreCounted()
    {
        string data = _workspace.Write("lines.jsonl", string.Concat(Enumerable.Repeat("{\"text\":\"a good line of text\"}\n", 30)) + "{\"text\":\n");
        CliResult result = Cli.RunIn(_workspace.Path, _workspace.Arguments(data, "run", ["--steps", "2", "--bad-lines", "skip"]));
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.Contains("1 bad lines were left out; the first is", result.Error, StringComparison.Ordinal);
        Assert.Contains("lines.jsonl:31", result.Error, StringComparison.Ordinal);
    }

    public void Dispose() => _workspace.Dispose();
}
