using System.Globalization;

namespace Varlen.Checkpoints;

/// <summary>
/// A folder of checkpoints, one subfolder "step-00000042" each. A checkpoint appears whole or not at all, whatever ends the process or the
/// machine: its files are written and synced in a folder that readers ignore, then a manifest with their sizes and SHA-256, then the folder
/// gets its name, and only when that is on the disk are older ones removed. Readers verify before they use.
/// </summary>
/// <remarks>One process may save at a time: hold a <see cref="RunLock"/>. Any number may read meanwhile. Not thread-safe.</remarks>
public sealed partial class CheckpointFolder
{
    private const string Prefix = "step-", Temporary = ".tmp-", Deleted = ".del-";
    private readonly IFileStore _store;
    private readonly Action<string>? _warn;
    // Failed verification: never kept in place of a sound one, and replaced by a save of the same step.
    private readonly HashSet<long> _rejected = [];
    private bool _isRooted;

    /// <summary>A folder that need not exist yet; nothing is touched before the first call.</summary>
    /// <param name="folder">The folder of the checkpoints.</param>
    /// <param name="warn">Told what went wrong without harm: an older checkpoint used in place of a damaged one, or one that could not be removed.</param>
    public CheckpointFolder(string folder, Action<string>? warn = null) : this(folder, warn, FileStore.Instance)
    {
    }

    internal CheckpointFolder(string folder, Action<string>? warn, IFileStore store)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        Path = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(folder));
        (_warn, _store) = (warn, store);
    }

    /// <summary>Full path of the folder.</summary>
    public string Path { get; }

    /// <summary>How many of the newest checkpoints a save keeps; at least 1.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The value is below 1.</exception>
    public int Keep
    {
        get;
        init => field = value >= 1 ? value : throw new ArgumentOutOfRangeException(nameof(Keep), value, "at least one checkpoint must be kept");
    } = 2;

    /// <summary>Step of a checkpoint that is kept beside the newest ones; null for none. It is not stored: set it again after a restart.</summary>
    public long? Best { get; set; }

    /// <summary>Steps of the checkpoints that are there, in rising order, verified or not; none when the folder does not exist.</summary>
    /// <exception cref="IOException">The folder cannot be read.</exception>
    public IReadOnlyList<long> List() => Directory.Exists(Path) ? [.. _store.List(Path).Select(StepOf).OfType<long>().Order()] : [];

    /// <summary>Folder of a step's checkpoint, whether it exists or not.</summary>
    public string PathOf(long step) => System.IO.Path.Combine(Path, Prefix + step.ToString("D8", CultureInfo.InvariantCulture));

    /// <summary>Everything that is wrong with a checkpoint; empty when each file has the size and SHA-256 that were saved.</summary>
    public IReadOnlyList<CheckpointDefect> Verify(long step)
    {
        List<CheckpointDefect> defects = [];
        CheckpointReader.Read(_store, PathOf(step), step, defects)?.Dispose();
        return defects;
    }

    /// <summary>Opens and verifies the checkpoint of a step. The caller disposes it.</summary>
    /// <exception cref="CheckpointFormatException">It is missing or damaged; the message names file and bytes.</exception>
    public Checkpoint Open(long step)
    {
        List<CheckpointDefect> defects = [];
        return CheckpointReader.Read(_store, PathOf(step), step, defects)
            ?? throw new CheckpointFormatException($"the checkpoint of step {step} cannot be used", defects[0].Path, defects[0].Begin, defects[0].Reason, "use another checkpoint");
    }

    /// <summary>
    /// Opens the newest checkpoint that verifies, and warns of newer ones that do not. Null when the folder holds none. The caller disposes it.
    /// </summary>
    /// <exception cref="CheckpointFormatException">There are checkpoints, and all are damaged.</exception>
    /// <exception cref="IOException">The folder cannot be read.</exception>
    public Checkpoint? OpenNewest()
    {
        List<CheckpointDefect> defects = [];
        IReadOnlyList<long> steps = List();
        foreach (long step in steps.Reverse())
        {
            int before = defects.Count;
            if (CheckpointReader.Read(_store, PathOf(step), step, defects) is { } checkpoint)
            {
                if (before > 0) _warn?.Invoke($"{Names(defects)}; using {PathOf(step)} instead, {steps[^1] - step} steps earlier");
                return checkpoint;
            }
            // Another process has saved, and pruned this one, since the folder was listed.
            if (!Directory.Exists(PathOf(step))) return OpenNewest();
            _rejected.Add(step);
        }
        return defects.Count == 0 ? null
            : throw new CheckpointFormatException($"none of {steps.Count} checkpoints can be used", defects[0].Path, defects[0].Begin, Names(defects), "restore the folder from a copy, or start a new run in another one");
    }

    private static string Names(List<CheckpointDefect> defects) => $"failed verification: {string.Join("; ", defects)}";

    private static long? StepOf(string name)
        => name.StartsWith(Prefix, StringComparison.Ordinal) && long.TryParse(name.AsSpan(Prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out long step)
            && name.Length == Prefix.Length + Math.Max(8, step.ToString(CultureInfo.InvariantCulture).Length) ? step : null;
}
