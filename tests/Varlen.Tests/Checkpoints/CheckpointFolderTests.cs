using System.Text.Json.Nodes;
using Varlen.Checkpoints;
using Xunit;

namespace Varlen.Tests.Checkpoints;

public sealed class CheckpointFolderTests : IDisposable
{
    private readonly string _temporary = CheckpointCase.TemporaryFolder();
    private readonly List<string> _warnings = [];

    private string Root => Path.Combine(_temporary, "run", "checkpoints");

    private CheckpointFolder Folder(int keep = 2) => new(Root, _warnings.Add) { Keep = keep };

    public void Dispose() => Directory.Delete(_temporary, recursive: true);

    [Fact]
    public void What_is_saved_is_read_back()
    {
        CheckpointFolder folder = Folder();
        Assert.Null(folder.OpenNewest());
        Assert.Empty(folder.List());
        folder.Save(7, CheckpointCase.Contents(7));
        Assert.Equal(["step-00000007"], Entries(Root));
        Assert.Equal(["manifest.json", "model.safetensors", "optimizer.safetensors", "trainer.json"], Entries(folder.PathOf(7)));
        using Checkpoint checkpoint = folder.OpenNewest()!;
        Assert.Equal((7, folder.PathOf(7)), (checkpoint.Step, checkpoint.Path));
        CheckpointCase.AssertWhole(checkpoint);
        foreach (CheckpointFile file in checkpoint.Files)
        {
            byte[] bytes = File.ReadAllBytes(Path.Combine(checkpoint.Path, file.Name));
            Assert.Equal((bytes.Length, Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes))), (file.Size, file.Sha256));
        }
        Assert.Empty(_warnings);
    }

    [Fact]
    public void The_newest_and_the_best_are_kept()
    {
        CheckpointFolder folder = Folder();
        foreach (long step in (long[])[0, 5, 10, 20, 123_456_789])
        {
            folder.Save(step, CheckpointCase.Contents(step));
            if (step == 5) folder.Best = 5;
        }
        Assert.Equal([5, 20, 123_456_789], folder.List());
        folder.Best = null;
        folder.Save(123_456_790, CheckpointCase.Contents(1));
        Assert.Equal(["step-123456789", "step-123456790"], Entries(Root));
        CheckpointFolder one = Folder(keep: 1);
        one.Save(123_456_791, CheckpointCase.Contents(1));
        Assert.Equal([123_456_791], one.List());
        Assert.Throws<ArgumentOutOfRangeException>("Keep", () => Folder(keep: 0));
    }

    [Fact]
    public void An_open_checkpoint_outlives_its_folder()
    {
        CheckpointFolder folder = Folder(keep: 1);
        folder.Save(1, CheckpointCase.Contents(1));
        using Checkpoint checkpoint = folder.Open(1);
        folder.Save(2, CheckpointCase.Contents(2));
        Assert.Equal([2], folder.List());
        CheckpointCase.AssertWhole(checkpoint);
    }

    [Fact]
    public void A_damaged_one_is_passed_over_with_a_warning_and_later_replaced()
    {
        CheckpointFolder folder = Folder();
        foreach (long step in (long[])[10, 20]) folder.Save(step, CheckpointCase.Contents(step));
        string model = Path.Combine(folder.PathOf(20), "model.safetensors");
        Flip(model, 100);
        Assert.Equal(10, CheckpointCase.Recover(Root, _warnings.Add));
        string warning = Assert.Single(_warnings);
        Assert.Contains($"{model}, bytes 0 to {new FileInfo(model).Length}: its SHA-256 is", warning, StringComparison.Ordinal);
        Assert.EndsWith($"using {folder.PathOf(10)} instead, 10 steps earlier", warning, StringComparison.Ordinal);

        // The sound one must survive although two names are newer than it in the end.
        CheckpointFolder resumed = Folder();
        resumed.OpenNewest()!.Dispose();
        resumed.Save(15, CheckpointCase.Contents(15));
        Assert.Equal([10, 15], resumed.List());
        resumed.Save(20, CheckpointCase.Contents(20));
        Assert.Equal([15, 20], resumed.List());
        Assert.Equal(20, CheckpointCase.Recover(Root));

        // A process that never opened it replaces it all the same.
        Flip(model, 100);
        Folder().Save(20, CheckpointCase.Contents(20));
        Assert.Equal(20, CheckpointCase.Recover(Root));
    }

    [Fact]
    public void Nothing_sound_is_an_error_rather_than_a_new_beginning()
    {
        CheckpointFolder folder = Folder();
        foreach (long step in (long[])[10, 20]) folder.Save(step, CheckpointCase.Contents(step));
        File.Delete(Path.Combine(folder.PathOf(20), "manifest.json"));
        File.WriteAllText(Path.Combine(folder.PathOf(10), "trainer.json"), "{}");
        var error = Assert.Throws<CheckpointFormatException>(() => folder.OpenNewest());
        Assert.Equal("none of 2 checkpoints can be used", error.What);
        Assert.Contains("manifest.json", error.Reason, StringComparison.Ordinal);
        Assert.Contains("trainer.json, bytes 2 to ", error.Reason, StringComparison.Ordinal);
        Assert.Contains("it has 2 bytes, and", error.Reason, StringComparison.Ordinal);
        Assert.Equal(Path.Combine(folder.PathOf(10), "trainer.json"), Assert.Throws<CheckpointFormatException>(() => folder.Open(10)).Path);
        Assert.Throws<CheckpointFormatException>(() => folder.Open(11));
    }

    [Fact]
    public void A_sound_checkpoint_of_a_later_run_is_not_overtaken()
    {
        CheckpointFolder folder = Folder();
        folder.Save(100, CheckpointCase.Contents(100));
        foreach (long step in (long[])[1, 100])
            Assert.Contains($"step {step} is not above step 100", Assert.Throws<ArgumentException>("step", () => folder.Save(step, CheckpointCase.Contents(step))).Message, StringComparison.Ordinal);
        Assert.Equal(["step-00000100"], Entries(Root));
        Assert.Equal(100, CheckpointCase.Recover(Root));
    }

    [Fact]
    public void Leftovers_are_ignored_and_then_removed()
    {
        CheckpointFolder folder = Folder();
        folder.Save(1, CheckpointCase.Contents(1));
        foreach (string name in (string[])[".tmp-00000009-x", ".del-00000008-y", ".other"])
        {
            Directory.CreateDirectory(Path.Combine(Root, name));
            File.Copy(Path.Combine(folder.PathOf(1), "manifest.json"), Path.Combine(Root, name, "manifest.json"));
        }
        foreach (string name in (string[])["step-1", "step-000000001", "step-0000000x", "step-+0000001", "notes"]) Directory.CreateDirectory(Path.Combine(Root, name));
        Assert.Equal([1], folder.List());
        folder.Save(2, CheckpointCase.Contents(2));
        Assert.Equal([".other", "notes", "step-+0000001", "step-000000001", "step-00000001", "step-00000002", "step-0000000x", "step-1"], Entries(Root));
        Assert.Empty(_warnings);
    }

    [Fact]
    public void What_the_writer_throws_is_passed_on_and_leaves_nothing()
    {
        CheckpointFolder folder = Folder();
        folder.Save(1, CheckpointCase.Contents(1));
        Assert.Equal("mine", Assert.Throws<InvalidOperationException>(() => folder.Save(2, writer =>
        {
            CheckpointCase.Contents(2)(writer);
            throw new InvalidOperationException("mine");
        })).Message);
        Assert.Throws<FileNotFoundException>(() => folder.Save(2, _ => throw new FileNotFoundException("theirs")));
        Assert.Equal(["step-00000001"], Entries(Root));
    }

    [Theory]
    [InlineData("")]
    [InlineData("..")]
    [InlineData(".hidden")]
    [InlineData("a/b")]
    [InlineData("a\\b")]
    [InlineData("/etc/x")]
    [InlineData("C:x")]
    [InlineData("a\0")]
    [InlineData("dot.")]
    [InlineData("space x")]
    [InlineData("manifest.json")]
    [InlineData("nul.json")]
    [InlineData("COM7")]
    public void Names_that_could_leave_the_folder_are_refused(string name)
    {
        Assert.Contains("cannot be the name", Assert.Throws<ArgumentException>(nameof(name), () => Folder().Save(1, writer => writer.WriteJson(name, new JsonObject()))).Message, StringComparison.Ordinal);
        var manifest = new CheckpointManifest(1, [new CheckpointFile(name, 3, "00")]);
        Assert.Contains("which no checkpoint holds", Assert.Throws<CheckpointFormatException>(() => CheckpointManifest.Parse(manifest.ToBytes(), "m", 1)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_name_is_used_once_and_unknown_ones_are_explained()
    {
        Assert.Contains("'A.json' already", Assert.Throws<ArgumentException>("name", () => Folder().Save(1, writer =>
        {
            writer.WriteJson("a.json", 1);
            writer.WriteJson("A.json", 2);
        })).Message, StringComparison.Ordinal);
        Folder().Save(1, CheckpointCase.Contents(1));
        using Checkpoint checkpoint = Folder().Open(1);
        foreach (Action read in (Action[])[() => checkpoint.ReadJson("x.json"), () => checkpoint.OpenTensors("x.json")])
            Assert.Contains("no file 'x.json'", Assert.Throws<CheckpointFormatException>(read).Message, StringComparison.Ordinal);
        Assert.Throws<CheckpointFormatException>(() => checkpoint.ReadJson("model.safetensors"));
        Assert.Contains("JSON text", Assert.Throws<CheckpointFormatException>(() => checkpoint.OpenTensors("trainer.json")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_pipe_in_place_of_a_file_is_a_defect_and_not_waited_for()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/mkfifo"), "this system has no mkfifo");
        CheckpointFolder folder = Folder();
        folder.Save(1, CheckpointCase.Contents(1));
        foreach (string name in (string[])["trainer.json", "manifest.json"])
        {
            string path = Path.Combine(folder.PathOf(1), name);
            File.Delete(path);
            using (var make = System.Diagnostics.Process.Start("/usr/bin/mkfifo", [path])) make.WaitForExit();
            Assert.Equal(path, Assert.Single(folder.Verify(1)).Path);
            string pipe = Path.Combine(_temporary, "pipe");
            File.Move(path, pipe, overwrite: true);
            File.CreateSymbolicLink(path, pipe);
            Assert.Contains("no regular file", Assert.Single(folder.Verify(1)).Reason, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Paths_keep_working_when_the_current_folder_changes()
    {
        string before = Environment.CurrentDirectory;
        var folder = new CheckpointFolder("relative/");
        Assert.Equal(Path.Combine(before, "relative"), folder.Path);
    }

    private static string[] Entries(string folder) => [.. Directory.EnumerateFileSystemEntries(folder).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];

    private static void Flip(string path, int position)
    {
        byte[] bytes = File.ReadAllBytes(path);
        bytes[position] ^= 1;
        File.WriteAllBytes(path, bytes);
    }
}
