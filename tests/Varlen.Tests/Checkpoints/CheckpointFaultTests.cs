using Varlen.Checkpoints;
using Xunit;

namespace Varlen.Tests.Checkpoints;

/// <summary>Lets the first operation of a save fail, then the second, and so on until none is left: the method of SQLite's tests.</summary>
public sealed class CheckpointFaultTests
{
    private const int EIO = 5, ENOSPC = 28, EDQUOT = 122;

    [Theory]
    [InlineData(EIO, false)]
    [InlineData(EIO, true)]
    [InlineData(ENOSPC, false)]
    [InlineData(ENOSPC, true)]
    [InlineData(EDQUOT, false)]
    [InlineData(EDQUOT, true)]
    public void Every_operation_may_fail(int code, bool lasting)
    {
        var operations = new HashSet<string>();
        int failures = 0, number = 0;
        while (FailAt(++number, code, lasting, operations, ref failures))
        {
        }
        // Opening happens in readers only; see below.
        Assert.Equal(["create file", "create folder", "delete file", "delete folder", "list", "rename", "sync file", "sync folder", "write"], operations.Order());
        Assert.InRange(failures, 20, number);
    }

    private static bool FailAt(int number, int code, bool lasting, HashSet<string> operations, ref int failures)
    {
        string temporary = CheckpointCase.TemporaryFolder(), root = Path.Combine(temporary, "checkpoints");
        try
        {
            var store = new FailingStore(FileStore.Instance);
            List<string> warnings = [];
            var folder = new CheckpointFolder(root, warnings.Add, store);
            foreach (long step in (long[])[1, 2]) folder.Save(step, CheckpointCase.Contents(step));
            Leave(root, ".tmp-00000009-x");
            Leave(root, ".del-00000008-y");

            // A new process: nothing is known of the folder yet.
            folder = new CheckpointFolder(root, warnings.Add, store);
            store.Arm(number, code, lasting);
            CheckpointSaveException? error = null;
            try
            {
                folder.Save(3, CheckpointCase.Contents(3));
            }
            catch (CheckpointSaveException e)
            {
                error = e;
            }
            (string Operation, string Path)[] failed = [.. store.Failed];
            store.Arm(0, 0, false);
            string where = $"operation {number}, code {code}, lasting {lasting}: {string.Join(", ", failed)}";
            if (error is null)
            {
                Assert.True(CheckpointCase.Recover(root) == 3, where);
                Assert.True(failed.Length == 0 || warnings.Count > 0, $"silent: {where}");
            }
            else
            {
                failures++;
                AssertNames(error, failed, code, where);
                // Only when the name could not be taken back either may the whole checkpoint still be seen.
                bool seen = lasting && (error.Operation, error.Path) == ("sync folder", root);
                Assert.True(CheckpointCase.Recover(root) == (seen ? 3 : 2), where);
                foreach (long step in (long[])[1, 2]) Assert.True(folder.Verify(step).Count == 0, where);
                folder.Save(3, CheckpointCase.Contents(3));
            }
            folder.Save(4, CheckpointCase.Contents(4));
            Assert.Equal(["step-00000003", "step-00000004"], Directory.EnumerateFileSystemEntries(root).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal));
            Assert.Equal(4, CheckpointCase.Recover(root));
            operations.UnionWith(failed.Take(1).Select(entry => entry.Operation));
            return failed.Length > 0;
        }
        finally
        {
            Directory.Delete(temporary, recursive: true);
        }
    }

    private static void AssertNames(CheckpointSaveException error, (string Operation, string Path)[] failed, int code, string where)
    {
        Assert.True(failed.Contains((error.Operation, error.Path)), $"{error.Message} - {where}");
        Assert.Equal(code != EIO, error.IsDiskFull);
        Assert.Equal(code, Assert.IsType<IOException>(error.InnerException).HResult);
        Assert.NotNull(error.FreeBytes);
        foreach (string part in (string[])["the checkpoint of step 3 was not saved", error.Operation, error.Path, $"injected error {code}", "bytes needed", "free", "earlier checkpoints are intact"])
            Assert.Contains(part, error.Message, StringComparison.Ordinal);
        if (error.Operation is "write" or "sync file") Assert.True(error.NeededBytes > 0, where);
    }

    [Fact]
    public void A_reader_that_cannot_open_a_file_says_which()
    {
        string temporary = CheckpointCase.TemporaryFolder();
        try
        {
            var store = new FailingStore(FileStore.Instance);
            foreach (long step in (long[])[1, 2]) new CheckpointFolder(temporary).Save(step, CheckpointCase.Contents(step));
            // The list, then the manifest and three files of the newest.
            for (int number = 2; number <= 5; number++)
            {
                List<string> warnings = [];
                store.Arm(number, EIO, false);
                using Checkpoint checkpoint = new CheckpointFolder(temporary, warnings.Add, store).OpenNewest()!;
                Assert.Equal(1, checkpoint.Step);
                Assert.Contains(store.Failed[0].Path, Assert.Single(warnings), StringComparison.Ordinal);
            }
            store.Arm(1, EIO, true);
            Assert.Throws<IOException>(() => new CheckpointFolder(temporary, null, store).OpenNewest());
            store.Arm(2, EIO, true);
            Assert.Throws<CheckpointFormatException>(() => new CheckpointFolder(temporary, null, store).OpenNewest());
        }
        finally
        {
            Directory.Delete(temporary, recursive: true);
        }
    }

    [Fact]
    public void A_checkpoint_that_cannot_be_removed_is_only_a_warning()
    {
        string temporary = CheckpointCase.TemporaryFolder();
        try
        {
            List<string> warnings = [];
            var folder = new CheckpointFolder(temporary, warnings.Add) { Keep = 1 };
            folder.Save(1, CheckpointCase.Contents(1));
            Directory.CreateDirectory(Path.Combine(folder.PathOf(1), "foreign"));
            folder.Save(2, CheckpointCase.Contents(2));
            Assert.Contains($"cannot remove the old checkpoint {folder.PathOf(1)}", Assert.Single(warnings), StringComparison.Ordinal);
            Assert.Equal([2], folder.List());
            folder.Save(3, CheckpointCase.Contents(3));
            Assert.Equal(2, warnings.Count);
            Assert.Equal(3, CheckpointCase.Recover(temporary));
        }
        finally
        {
            Directory.Delete(temporary, recursive: true);
        }
    }

    private static void Leave(string root, string name)
    {
        Directory.CreateDirectory(Path.Combine(root, name));
        File.WriteAllText(Path.Combine(root, name, "model.safetensors"), "half");
    }
}
