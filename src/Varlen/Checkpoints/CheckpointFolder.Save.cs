namespace Varlen.Checkpoints;

public sealed partial class CheckpointFolder
{
    /// <summary>
    /// Saves a checkpoint, then removes those beyond <see cref="Keep"/> other than <see cref="Best"/>, and what killed saves left behind.
    /// When it returns, the checkpoint survives a loss of power.
    /// </summary>
    /// <param name="step">Finished steps; above those of all sound checkpoints in the folder.</param>
    /// <param name="write">Writes the files. What it throws, other than failures of the disk, is passed on.</param>
    /// <exception cref="CheckpointSaveException">The disk failed; nothing of this checkpoint is left, and earlier ones are intact. Saving again starts from nothing.</exception>
    /// <exception cref="ArgumentException">A sound checkpoint of this or a later step is there: it would be used in place of the new one.</exception>
    public void Save(long step, Action<CheckpointWriter> write)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        ArgumentNullException.ThrowIfNull(write);
        string temporary = NewPath(Temporary, step), target = PathOf(step), made = temporary;
        CheckpointWriter writer = new(_store, temporary);
        try
        {
            PrepareFolder();
            RequireNewest(step);
            RemoveLeftovers();
            StoreException.Run("create folder", temporary, () => _store.CreateFolder(temporary));
            write(writer);
            writer.Finish(step);
            StoreException.Run("sync folder", temporary, () => _store.SyncFolder(temporary));
            if (_rejected.Contains(step)) StoreException.Run("rename", target, () => SetAside(step));
            StoreException.Run("rename", temporary, () => _store.RenameFolder(temporary, target));
            made = target;
            StoreException.Run("sync folder", Path, () => _store.SyncFolder(Path));
        }
        catch (StoreException failure)
        {
            Discard(step, made);
            throw new CheckpointSaveException(step, failure.Operation, failure.Path, writer.NeededBytes, FreeBytes(), failure.InnerException!);
        }
        catch
        {
            Discard(step, made);
            throw;
        }
        _rejected.Remove(step);
        Prune();
    }

    private string NewPath(string prefix, long step) => System.IO.Path.Combine(Path, $"{prefix}{step:D8}-{System.IO.Path.GetRandomFileName().Replace(".", "", StringComparison.Ordinal)}");

    private void PrepareFolder()
    {
        if (_isRooted) return;
        var missing = new Stack<string>();
        for (string? at = Path; at is not null && !Directory.Exists(at); at = System.IO.Path.GetDirectoryName(at)) missing.Push(at);
        foreach (string folder in missing)
        {
            StoreException.Run("create folder", folder, () => _store.CreateFolder(folder));
            SyncParent(folder);
        }
        // A process that was killed may have made the folder without reaching the sync.
        if (missing.Count == 0) SyncParent(Path);
        _isRooted = true;
    }

    private void SyncParent(string folder)
    {
        if (System.IO.Path.GetDirectoryName(folder) is { } parent) StoreException.Run("sync folder", parent, () => _store.SyncFolder(parent));
    }

    private void RequireNewest(long step)
    {
        foreach (long other in StoreException.Run("list", Path, List).Where(other => other >= step && !_rejected.Contains(other)))
        {
            if (Verify(other).Count == 0)
                throw new ArgumentException($"step {step} is not above step {other}, of which {Path} holds a checkpoint; resume from that one, or save to another folder", nameof(step));
            _rejected.Add(other);
        }
    }

    /// <summary>Takes a checkpoint out of sight, so that no reader finds it half removed.</summary>
    private string SetAside(long step)
    {
        string aside = NewPath(Deleted, step);
        _store.RenameFolder(PathOf(step), aside);
        return aside;
    }

    /// <summary>Removes what a failed save has made, as far as the disk allows; the next save does the rest.</summary>
    private void Discard(long step, string made)
    {
        try
        {
            if (made == PathOf(step))
            {
                // Its name may be lost with the power: it must not count when older ones are removed.
                _rejected.Add(step);
                made = SetAside(step);
                _rejected.Remove(step);
            }
            if (Directory.Exists(made)) RemoveFolder(made);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The failure that led here is the one to report.
        }
    }

    private void Prune()
    {
        Warned("list", Path, () =>
        {
            List<long> kept = [.. List().Where(step => !_rejected.Contains(step)).TakeLast(Keep)];
            foreach (long step in List().Where(step => !kept.Contains(step) && (step != Best || _rejected.Contains(step))))
            {
                Warned("remove the old checkpoint", PathOf(step), () =>
                {
                    string aside = SetAside(step);
                    _rejected.Remove(step);
                    RemoveFolder(aside);
                });
            }
        });
    }

    private void RemoveLeftovers()
    {
        foreach (string name in StoreException.Run("list", Path, () => _store.List(Path)))
            if (name.StartsWith(Temporary, StringComparison.Ordinal) || name.StartsWith(Deleted, StringComparison.Ordinal))
                Warned("remove what an earlier save left", System.IO.Path.Combine(Path, name), () => RemoveFolder(System.IO.Path.Combine(Path, name)));
    }

    private void RemoveFolder(string folder)
    {
        foreach (string name in _store.List(folder)) _store.DeleteFile(System.IO.Path.Combine(folder, name));
        _store.DeleteFolder(folder);
    }

    private void Warned(string what, string path, Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _warn?.Invoke($"cannot {what} {path}: {e.Message}");
        }
    }

    private long? FreeBytes()
    {
        try
        {
            return _store.FreeBytes(Path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
