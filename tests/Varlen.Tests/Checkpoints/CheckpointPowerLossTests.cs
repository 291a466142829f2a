using Varlen.Checkpoints;
using Xunit;

namespace Varlen.Tests.Checkpoints;

/// <summary>Cuts the power after every change to the disk, in every way that the syncs so far allow.</summary>
public sealed class CheckpointPowerLossTests : IDisposable
{
    private const int ExhaustiveUpTo = 7, Samples = 160;
    private readonly string _temporary = CheckpointCase.TemporaryFolder();
    private readonly int _seed = Numeric.FreshSeed();
    private int _states;

    public void Dispose() => Directory.Delete(_temporary, recursive: true);

    [Fact]
    public void Every_state_recovers_to_an_acknowledged_checkpoint_or_a_later_one()
    {
        Assert.Null(FindLoss(_ => false));
        Assert.True(_states >= 10_000, $"only {_states} states were tried");
    }

    /// <summary>The same search must find each sync that is left out.</summary>
    [Theory]
    [InlineData("file of the model", "file ", "model.safetensors")]
    [InlineData("manifest", "file ", "manifest.json")]
    [InlineData("folder of the checkpoint", "folder ", ".tmp-")]
    [InlineData("folder of checkpoints", "folder ", "/checkpoints")]
    [InlineData("folder above", "folder ", "/disk")]
    public void A_forgotten_sync_is_found(string what, string kind, string name)
        => Assert.True(FindLoss(sync => sync.StartsWith(kind, StringComparison.Ordinal) && (name[0] == '/' ? sync.EndsWith(Path.DirectorySeparatorChar + name[1..], StringComparison.Ordinal) : sync.Contains(name, StringComparison.Ordinal))) is not null, $"no loss without the sync of the {what} in {_states} states, seed {_seed}");

    /// <summary>The first loss, described; null when there is none.</summary>
    private string? FindLoss(Func<string, bool> forgets)
    {
        string live = Directory.CreateDirectory(Path.Combine(_temporary, "disk")).FullName;
        var disk = new SimulatedDisk(live) { Forgets = forgets };
        string root = Path.Combine(live, "checkpoints");
        var folder = new CheckpointFolder(root, null, disk);
        foreach (long step in (long[])[1, 2, 3, 4])
        {
            folder.Save(step, CheckpointCase.Contents(step, 4));
            disk.Acknowledge(step);
        }
        // A save that fails half-way, and one that follows it in a new process.
        Assert.Throws<InvalidOperationException>(() => folder.Save(5, writer =>
        {
            CheckpointCase.Contents(5, 4)(writer);
            throw new InvalidOperationException();
        }));
        folder = new CheckpointFolder(root, null, disk);
        folder.Save(6, CheckpointCase.Contents(6, 4));
        disk.Acknowledge(6);

        var random = new Random(_seed);
        var outcomes = new Dictionary<string, string>();
        for (int length = 1; length <= disk.Length; length++)
        {
            List<int> pending = disk.PendingAt(length);
            bool exhaustive = pending.Count <= ExhaustiveUpTo;
            for (int sample = 0; sample < (exhaustive ? 1 << pending.Count : Samples); sample++)
            {
                // Extremes first, then fair coins; lost and done contents also come out as zeros or torn.
                Dictionary<int, SimulatedDisk.Outcome> chosen = [];
                foreach ((int place, int change) in pending.Index())
                {
                    bool done = exhaustive ? (sample >> place & 1) != 0 : sample == 0 || (sample != 1 && random.Next(2) == 0);
                    chosen[change] = disk.IsData(change) && random.Next(3) == 0 ? (SimulatedDisk.Outcome)random.Next(2, 4) : done ? SimulatedDisk.Outcome.Done : SimulatedDisk.Outcome.Lost;
                }
                _states++;
                SortedDictionary<string, byte[]?> tree = disk.Crash(length, change => chosen[change]);
                string key = SimulatedDisk.Fingerprint(tree);
                if (!outcomes.TryGetValue(key, out string? outcome)) outcomes.Add(key, outcome = Recover(tree));
                if (!long.TryParse(outcome, out long found) || found < (disk.AcknowledgedBefore(length) ?? 0))
                    return $"after {length} changes, {string.Join(", ", chosen)}: found {outcome}, acknowledged {disk.AcknowledgedBefore(length)}; seed {_seed}";
            }
        }
        return null;
    }

    /// <summary>What a reader finds after the crash: a step, 0 for nothing yet, or why it failed. A save must then work again.</summary>
    private string Recover(SortedDictionary<string, byte[]?> tree)
    {
        string crashed = Directory.CreateDirectory(Path.Combine(_temporary, "crashed")).FullName, root = Path.Combine(crashed, "checkpoints");
        try
        {
            SimulatedDisk.Materialise(tree, crashed);
            long found = CheckpointCase.Recover(root) ?? 0;
            new CheckpointFolder(root).Save(found + 1, CheckpointCase.Contents(found + 1, 4));
            return CheckpointCase.Recover(root) != found + 1 ? "the next save was lost"
                : Directory.EnumerateFileSystemEntries(root, ".*").Any() ? "leftovers stay for ever" : found.ToString(System.Globalization.CultureInfo.InvariantCulture);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            return e.Message;
        }
        finally
        {
            Directory.Delete(crashed, recursive: true);
        }
    }
}
