namespace Varlen.Cli.Training;

/// <summary>A run's folder while the run is being prepared: unless it is kept, everything that was not there before goes away again.</summary>
/// <remarks>Disposed before the folder's lock is given back, so that what goes away is nobody else's.</remarks>
internal sealed class NewFolder : IDisposable
{
    private readonly string _path;
    private readonly string[] _made;
    private readonly HashSet<string> _before;
    private bool _kept;

    /// <summary>Remembers what is there; makes nothing.</summary>
    public NewFolder(string path)
    {
        _path = Path.GetFullPath(path);
        _made = [.. Missing(_path)];
        _before = Directory.Exists(_path) ? [.. Directory.GetFileSystemEntries(_path)] : [];
    }

    /// <summary>The run has begun.</summary>
    public void Keep() => _kept = true;

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_kept || !Directory.Exists(_path)) return;
        try
        {
            foreach (string entry in Directory.GetFileSystemEntries(_path).Where(entry => !_before.Contains(entry)))
            {
                if (Directory.Exists(entry)) Directory.Delete(entry, recursive: true);
                else File.Delete(entry);
            }
            foreach (string folder in _made) Directory.Delete(folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Another run has begun in a folder above, or the disk fails: what ended the preparation is the error to report.
        }
    }

    private static IEnumerable<string> Missing(string path)
    {
        for (string? at = path; at is not null && !Directory.Exists(at); at = Path.GetDirectoryName(at)) yield return at;
    }
}
