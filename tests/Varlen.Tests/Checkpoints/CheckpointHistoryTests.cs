using Varlen.Checkpoints;
using Xunit;

namespace Varlen.Tests.Checkpoints;

public sealed class CheckpointHistoryTests
{
    /// <summary>Random lives of a folder - saves, failures, damage, restarts - against a list of what must be there.</summary>
    [Fact]
    public void No_history_removes_the_newest_sound_checkpoint_or_the_best()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        for (int life = 0; life < 60; life++)
        {
            string temporary = CheckpointCase.TemporaryFolder(), root = Path.Combine(temporary, "checkpoints");
            List<string> history = [];
            try
            {
                Live(root, random, history);
            }
            catch (Exception e) when (e is not OutOfMemoryException)
            {
                throw new InvalidOperationException($"seed {seed}, life {life}: {string.Join(", ", history)}", e);
            }
            finally
            {
                Directory.Delete(temporary, recursive: true);
            }
        }
    }

    private static void Live(string root, Random random, List<string> history)
    {
        var store = new FailingStore(FileStore.Instance);
        int keep = random.Next(1, 4);
        CheckpointFolder folder = new(root, null, store) { Keep = keep };
        var sound = new SortedSet<long>();
        long step = 0, failed = 0;
        for (int turn = 0; turn < 25; turn++)
        {
            long newest = sound.Count == 0 ? 0 : sound.Max;
            switch (random.Next(6))
            {
                case 0 or 1:
                    step += random.Next(1, 4);
                    history.Add($"save {step}");
                    folder.Save(step, CheckpointCase.Contents(step));
                    sound.Add(step);
                    break;
                case 2:
                    store.Arm(random.Next(1, 45), 28, random.Next(2) == 0);
                    history.Add($"save {++step} with a failure");
                    try
                    {
                        folder.Save(step, CheckpointCase.Contents(step));
                    }
                    catch (CheckpointSaveException)
                    {
                        history.Add("failed");
                    }
                    store.Arm(0, 0, false);
                    // A lasting failure can leave the whole checkpoint in sight. The process that failed drops it later; another may go on from it.
                    if (folder.Verify(step).Count == 0) sound.Add(step);
                    failed = step;
                    break;
                case 3 when sound.Count > 1:
                    history.Add($"damage {newest}");
                    File.WriteAllText(Path.Combine(folder.PathOf(newest), "trainer.json"), "{}");
                    sound.Remove(newest);
                    if (folder.Best == newest) folder.Best = null;
                    break;
                case 4:
                    // A new process goes on from what it finds, which may be an earlier step.
                    folder = new(root, null, store) { Keep = keep, Best = folder.Best };
                    using (Checkpoint? resumed = folder.OpenNewest()) step = resumed?.Step ?? 0;
                    failed = 0;
                    history.Add($"resume from {step}");
                    break;
                case 5 when sound.Count > 0 && sound.ElementAt(random.Next(sound.Count)) is var chosen && chosen != failed:
                    folder.Best = chosen;
                    history.Add($"best {folder.Best}");
                    break;
            }
            // Only saves remove, and only what is older than the kept ones.
            long expected = sound.Count == 0 ? 0 : sound.Max;
            sound.IntersectWith(folder.List());
            Assert.Equal(expected, CheckpointCase.Recover(root) ?? 0);
            if (folder.Best is { } best) Assert.Empty(folder.Verify(best));
            foreach (long there in sound) Assert.Empty(folder.Verify(there));
            Assert.True(folder.List().Count <= 2 * keep + 4, $"{folder.List().Count} checkpoints are there");
        }
    }
}
