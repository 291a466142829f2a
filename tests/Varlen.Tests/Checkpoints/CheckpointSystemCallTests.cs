using System.Globalization;
using System.Runtime.InteropServices;
using Xunit;

namespace Varlen.Tests.Checkpoints;

/// <summary>Another process saves; strace kills it at, or fails, each system call that changes the disk.</summary>
public sealed class CheckpointSystemCallTests : IDisposable
{
    // Processors differ in which of these they have; "?" passes over the others.
    private const string MakeFolder = "?mkdir,?mkdirat", Open = "openat", Write = "pwrite64", Sync = "fsync", Rename = "?rename,?renameat,?renameat2", RemoveFile = "?unlink,?unlinkat", RemoveFolder = "?rmdir";
    private readonly string _temporary = Directory.CreateTempSubdirectory("varlen-checkpoints-").FullName;

    private string Root => Path.Combine(_temporary, "checkpoints");

    public void Dispose() => Directory.Delete(_temporary, recursive: true);

    [Theory]
    [InlineData(MakeFolder, 1)]
    [InlineData(Open, 8)]
    [InlineData(Write, 7)]
    [InlineData(Sync, 6)]
    [InlineData(Rename, 2)]
    [InlineData(RemoveFile, 4)]
    // Elsewhere the call above does this too.
    [InlineData(RemoveFolder, 1, Architecture.X64)]
    public void A_kill_at_any_call_loses_nothing(string calls, int least, Architecture? only = null)
    {
        Assert.SkipUnless((only ?? RuntimeInformation.ProcessArchitecture) == RuntimeInformation.ProcessArchitecture, $"this processor has no {calls}");
        long step = 0;
        int kills = 0;
        while (true)
        {
            using CrashTarget target = Warm(ref step);
            if (kills == 0) Strace.Require(target.Id);
            using var strace = new Strace(target.Id, calls, "signal=KILL", kills + 1);
            string? answer = target.Ask(Text(step + 1));
            if (answer is not null)
            {
                Assert.Equal("saved", answer);
                Assert.False(strace.WasInjected());
                break;
            }
            target.WaitForExit();
            Assert.True(strace.WasInjected());
            kills++;
            List<string> warnings = [];
            long? found = CheckpointCase.Recover(Root, warnings.Add);
            Assert.True(found == step || found == step + 1, $"killed at {calls} {kills}: found {found}, acknowledged {step}");
            Assert.Empty(warnings);
            step = found.Value;
        }
        Assert.True(kills >= least, $"only {kills} kills at {calls}");
    }

    [Theory]
    [InlineData(MakeFolder, "EIO", 1)]
    [InlineData(MakeFolder, "ENOSPC", 1)]
    [InlineData(Write, "EIO", 7)]
    [InlineData(Write, "ENOSPC", 7)]
    [InlineData(Sync, "EIO", 6)]
    [InlineData(Sync, "ENOSPC", 6)]
    [InlineData(Sync, "EDQUOT", 6)]
    // The second rename of a save takes an old checkpoint away, whose failure is only a warning.
    [InlineData(Rename, "EIO", 1)]
    [InlineData(Rename, "ENOSPC", 1)]
    public void A_failure_of_any_call_ends_the_save_cleanly(string calls, string error, int least)
    {
        long step = 0;
        int failures = 0;
        using CrashTarget target = Warm(ref step);
        Strace.Require(target.Id);
        for (int number = 1; ; number++)
        {
            using var strace = new Strace(target.Id, calls, $"error={error}", number);
            string answer = target.Ask(Text(step + 1)) ?? throw new InvalidOperationException($"the process died of {error} in {calls}");
            bool injected = strace.WasInjected();
            if (answer == "saved") step++;
            else
            {
                failures++;
                Assert.True(injected, answer);
                Assert.Contains($"the checkpoint of step {step + 1} was not saved", answer, StringComparison.Ordinal);
                Assert.Contains(Root, answer, StringComparison.Ordinal);
                Assert.Contains(error == "EIO" ? "Input/output error" : error == "ENOSPC" ? "No space left on device" : "quota exceeded", answer, StringComparison.Ordinal);
                Assert.Contains(" free", answer, StringComparison.Ordinal);
                Assert.Empty(Directory.EnumerateFileSystemEntries(Root, ".tmp-*"));
            }
            Assert.Equal(step, CheckpointCase.Recover(Root));
            if (!injected) break;
        }
        Assert.True(failures >= least, $"only {failures} failures of {calls}");
        Assert.Equal("saved", target.Ask(Text(step + 1)));
    }

    /// <summary>A process that has saved often enough to have compiled what it needs, and to remove a checkpoint with the next save.</summary>
    private CrashTarget Warm(ref long step)
    {
        var target = new CrashTarget("serve", Root);
        Assert.Equal($"ready {step}", target.Greeting);
        for (int i = 0; i < 3; i++) Assert.Equal("saved", target.Ask(Text(++step)));
        return target;
    }

    private static string Text(long step) => step.ToString(CultureInfo.InvariantCulture);
}
