using System.Globalization;
using Xunit;

namespace Varlen.Tests.Checkpoints;

/// <summary>Kills a process that saves, on a real disk, at random instants.</summary>
public sealed class CheckpointKillTests : IDisposable
{
    private const int Kills = 110;
    private readonly string _temporary = Directory.CreateTempSubdirectory("varlen-checkpoints-").FullName;

    public void Dispose() => Directory.Delete(_temporary, recursive: true);

    [Fact]
    public void No_acknowledged_checkpoint_is_lost_and_none_is_torn()
    {
        int seed = Numeric.FreshSeed(), midway = 0;
        var random = new Random(seed);
        string root = Path.Combine(_temporary, "checkpoints");
        long acknowledged = 0;
        for (int i = 0; i < Kills; i++)
        {
            using var target = new CrashTarget("loop", root);
            Assert.Equal($"ready {acknowledged}", target.Greeting);
            // Some die in the first save, which compiles on its way, the others within the next few.
            if (random.Next(4) != 0 && target.ReadLine() is { } first) acknowledged = long.Parse(first, CultureInfo.InvariantCulture);
            Thread.Sleep(TimeSpan.FromMilliseconds(random.NextDouble() * 25));
            target.Kill();
            while (target.ReadLine() is { } line) acknowledged = long.Parse(line, CultureInfo.InvariantCulture);
            target.WaitForExit();
            if (Directory.Exists(root) && Directory.EnumerateFileSystemEntries(root, ".*").Any()) midway++;
            List<string> warnings = [];
            long found = CheckpointCase.Recover(root, warnings.Add) ?? 0;
            // Killed between publishing and saying so: the one after may be there, never more.
            Assert.True(found == acknowledged || found == acknowledged + 1, $"kill {i}: found {found}, acknowledged {acknowledged}, seed {seed}");
            Assert.Empty(warnings);
            acknowledged = found;
        }
        Assert.True(midway >= Kills / 4, $"only {midway} of {Kills} kills hit a save; seed {seed}");
        Assert.True(acknowledged >= Kills / 2, $"only {acknowledged} saves in {Kills} runs");
    }
}
