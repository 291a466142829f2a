using System.Diagnostics;
using Varlen.Checkpoints;
using Xunit;

namespace Varlen.Tests.Checkpoints;

public sealed class CheckpointFullDiskTests
{
    [Fact]
    public void A_full_disk_leaves_the_earlier_checkpoints_and_can_be_emptied()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && Environment.IsPrivilegedProcess, "only root may mount a small disk");
        string folder = Directory.CreateTempSubdirectory("varlen-checkpoints-").FullName;
        int status = Run("mount", "-t", "tmpfs", "-o", "size=1m", "varlen-test", folder);
        try
        {
            Assert.SkipUnless(status == 0, $"mounting a small disk fails here with status {status}");
            var checkpoints = new CheckpointFolder(Path.Combine(folder, "checkpoints"));
            checkpoints.Save(1, CheckpointCase.Contents(1));
            checkpoints.Save(2, CheckpointCase.Contents(2));
            foreach (int size in (int[])[140_000, 400_000])
            {
                var error = Assert.Throws<CheckpointSaveException>(() => checkpoints.Save(3, CheckpointCase.Contents(3, size)));
                Assert.True(error.IsDiskFull, error.Message);
                Assert.Equal("write", error.Operation);
                Assert.True(error.NeededBytes > error.FreeBytes, error.Message);
                Assert.Contains("No space left on device", error.Message, StringComparison.Ordinal);
                Assert.Equal([1, 2], checkpoints.List());
                Assert.Equal(2, CheckpointCase.Recover(checkpoints.Path));
            }
            checkpoints.Save(3, CheckpointCase.Contents(3));
            Assert.Equal(3, CheckpointCase.Recover(checkpoints.Path));
        }
        finally
        {
            if (status == 0) Run("umount", folder);
            Directory.Delete(folder, recursive: true);
        }
    }

    private static int Run(string program, params string[] arguments)
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
            process.StandardError.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return -1;
        }
    }
}
