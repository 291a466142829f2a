using System.Text.Json.Nodes;
using Varlen.Checkpoints;
using Xunit;

namespace Varlen.Tests.Checkpoints;

public sealed class RunLockTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("varlen-lock-").FullName;

    private string Holder => Path.Combine(_folder, ".lock.json");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void A_second_process_is_refused_with_the_name_of_the_first()
    {
        using RunLock held = RunLock.Acquire(_folder);
        using var other = new CrashTarget("lock", _folder);
        Assert.Contains($"{_folder} is in use by process {Environment.ProcessId} on {Environment.MachineName}", other.Greeting, StringComparison.Ordinal);
        other.WaitForExit();
    }

    [Fact]
    public void It_is_held_until_its_process_ends_however_that_ends()
    {
        using (var other = new CrashTarget("lock", _folder))
        {
            Assert.Equal("locked", other.Greeting);
            var error = Assert.Throws<RunLockedException>(() => RunLock.Acquire(_folder));
            Assert.Equal((_folder, other.Id, Environment.MachineName), (error.Folder, error.ProcessId, error.Host));
            other.Kill();
            other.WaitForExit();
        }
        Assert.True(File.Exists(Holder));
        using RunLock held = RunLock.Acquire(_folder);
        Assert.Equal(Environment.ProcessId, (int)JsonNode.Parse(File.ReadAllText(Holder))!["pid"]!);
    }

    [Fact]
    public void One_process_takes_it_once_at_a_time()
    {
        RunLock held = RunLock.Acquire(_folder);
        Assert.Equal(Environment.ProcessId, Assert.Throws<RunLockedException>(() => RunLock.Acquire(_folder)).ProcessId);
        held.Dispose();
        held.Dispose();
        Assert.False(File.Exists(Holder));
        string deep = Path.Combine(_folder, "a", "b");
        using (RunLock.Acquire(deep)) Assert.True(Directory.Exists(deep));
        RunLock.Acquire(_folder).Dispose();
    }

    [Fact]
    public void Processes_are_told_apart_by_boot_and_start()
    {
        LockHolder self = LockHolder.Current;
        Assert.False(self.MayBeAlive);
        Assert.True((self with { Host = "elsewhere" }).MayBeAlive);
        Assert.False((self with { Boot = "another" }).MayBeAlive);
        Assert.False((self with { Start = "1" }).MayBeAlive);
        using var other = new CrashTarget("lock", _folder);
        LockHolder alive = LockHolder.Read(Holder)!;
        Assert.Equal(other.Id, alive.ProcessId);
        Assert.True(alive.MayBeAlive);
        other.Kill();
        other.WaitForExit();
        Assert.False(alive.MayBeAlive);
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("[1]")]
    [InlineData("""{"pid":"1"}""")]
    [InlineData("""{"pid":1e99,"host":"","boot":"","start":""}""")]
    public void A_damaged_holder_file_does_not_stand_in_the_way(string text)
    {
        File.WriteAllText(Holder, text);
        Assert.Null(LockHolder.Read(Holder));
        using RunLock held = RunLock.Acquire(_folder);
        Assert.Equal(LockHolder.Current, LockHolder.Read(Holder));
    }

    [Fact]
    public void A_folder_that_cannot_be_made_is_an_error_of_the_system()
    {
        string file = Path.Combine(_folder, "file");
        File.WriteAllText(file, "");
        Assert.IsNotType<RunLockedException>(Assert.ThrowsAny<IOException>(() => RunLock.Acquire(file)));
    }
}
