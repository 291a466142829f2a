using System.Security.Cryptography;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Varlen.Checkpoints;

namespace Varlen.Tests.Checkpoints;

/// <summary>
/// A store that remembers every change, and what of it a loss of power may leave: a change is certain once its file or folder was synced
/// after it. Of the others any may be missing; a rename happens whole or not at all, and a write also as zeros or in part.
/// </summary>
/// <param name="root">An existing folder, above all that is stored.</param>
internal sealed class SimulatedDisk(string root) : IFileStore
{
    private readonly List<Change> _log = [];
    private readonly Dictionary<string, int> _nodes = new() { [root] = 0 };
    private int _count = 1;

    private abstract record Change(int Node);
    private sealed record Link(int Node, string Name, int Target, bool IsFolder) : Change(Node);
    private sealed record Unlink(int Node, string Name) : Change(Node);
    private sealed record Move(int Node, string From, string To) : Change(Node);
    private sealed record Data(int Node, byte[] Bytes) : Change(Node);
    private sealed record Sync(int Node) : Change(Node);
    private sealed record Acknowledged(long Step) : Change(-1);

    /// <summary>How a change that was not synced comes out.</summary>
    public enum Outcome { Lost, Done, Zeros, Torn }

    /// <summary>Whether a sync is left out: a defect that the test must find.</summary>
    public Func<string, bool> Forgets { get; init; } = _ => false;

    public int Length => _log.Count;

    public void Acknowledge(long step) => _log.Add(new Acknowledged(step));

    /// <summary>The step that was acknowledged last before a point of the log.</summary>
    public long? AcknowledgedBefore(int length) => _log.Take(length).OfType<Acknowledged>().LastOrDefault()?.Step;

    /// <summary>Changes before a point that no sync has made certain.</summary>
    public List<int> PendingAt(int length)
    {
        var certain = new HashSet<int>();
        List<int> pending = [];
        for (int i = length - 1; i >= 0; i--)
            if (_log[i] is Sync sync) certain.Add(sync.Node);
            else if (_log[i] is not Acknowledged && !certain.Contains(_log[i].Node)) pending.Add(i);
        pending.Reverse();
        return pending;
    }

    public bool IsData(int change) => _log[change] is Data;

    /// <summary>The files after a loss of power: contents by path below the root; a null content is a folder.</summary>
    public SortedDictionary<string, byte[]?> Crash(int length, Func<int, Outcome> outcome)
    {
        var pending = new HashSet<int>(PendingAt(length));
        var folders = new Dictionary<int, SortedDictionary<string, (int Node, bool IsFolder)>> { [0] = [] };
        var files = new Dictionary<int, List<byte>>();
        for (int i = 0; i < length; i++)
        {
            Outcome how = pending.Contains(i) ? outcome(i) : Outcome.Done;
            if (_log[i] is Data data)
            {
                List<byte> file = files.TryGetValue(data.Node, out List<byte>? found) ? found : files[data.Node] = [];
                if (how == Outcome.Done) file.AddRange(data.Bytes);
                else if (how == Outcome.Zeros) file.AddRange(new byte[data.Bytes.Length]);
                else if (how == Outcome.Torn) file.AddRange(data.Bytes.AsSpan(0, data.Bytes.Length / 2));
                continue;
            }
            if (how == Outcome.Lost) continue;
            SortedDictionary<string, (int Node, bool IsFolder)> names = folders.TryGetValue(_log[i].Node, out var known) ? known : folders[_log[i].Node] = [];
            if (_log[i] is Link link) names[link.Name] = (link.Target, link.IsFolder);
            else if (_log[i] is Unlink unlink) names.Remove(unlink.Name);
            // A change that another one was lost for cannot have happened.
            else if (_log[i] is Move move && !names.ContainsKey(move.To) && names.Remove(move.From, out var entry)) names[move.To] = entry;
        }
        var tree = new SortedDictionary<string, byte[]?>(StringComparer.Ordinal);
        Walk(0, "");
        return tree;

        void Walk(int node, string path)
        {
            if (!folders.TryGetValue(node, out var names)) return;
            foreach ((string name, (int target, bool isFolder)) in names)
            {
                tree[Path.Combine(path, name)] = isFolder ? null : files.TryGetValue(target, out List<byte>? bytes) ? [.. bytes] : [];
                if (isFolder) Walk(target, Path.Combine(path, name));
            }
        }
    }

    /// <summary>Equal for equal trees.</summary>
    public static string Fingerprint(SortedDictionary<string, byte[]?> tree)
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach ((string path, byte[]? bytes) in tree)
        {
            hash.AppendData(Encoding.UTF8.GetBytes($"{path}\n{bytes?.Length ?? -1}\n"));
            hash.AppendData(bytes ?? []);
        }
        return Convert.ToHexString(hash.GetCurrentHash());
    }

    public static void Materialise(SortedDictionary<string, byte[]?> tree, string folder)
    {
        foreach ((string path, byte[]? bytes) in tree)
            if (bytes is null) Directory.CreateDirectory(Path.Combine(folder, path));
            else File.WriteAllBytes(Path.Combine(folder, path), bytes);
    }

    public void CreateFolder(string path)
    {
        FileStore.Instance.CreateFolder(path);
        Add(path, isFolder: true);
    }

    public Stream CreateFile(string path)
    {
        Stream file = FileStore.Instance.CreateFile(path);
        Add(path, isFolder: false);
        return new LoggedStream(this, file, path, _nodes[path]);
    }

    public void SyncFile(Stream file)
    {
        var logged = (LoggedStream)file;
        if (!Forgets($"file {logged.Path}")) _log.Add(new Sync(logged.Node));
    }

    public void SyncFolder(string path)
    {
        if (!Forgets($"folder {path}") && _nodes.TryGetValue(path, out int node)) _log.Add(new Sync(node));
    }

    public void RenameFolder(string from, string to)
    {
        FileStore.Instance.RenameFolder(from, to);
        _log.Add(new Move(Parent(from), Path.GetFileName(from), Path.GetFileName(to)));
        foreach (string path in _nodes.Keys.Where(path => path == from || path.StartsWith(from + Path.DirectorySeparatorChar, StringComparison.Ordinal)).ToArray())
        {
            _nodes.Remove(path, out int node);
            _nodes.Add(to + path[from.Length..], node);
        }
    }

    public string[] List(string path) => FileStore.Instance.List(path);

    public SafeFileHandle OpenFile(string path) => FileStore.Instance.OpenFile(path);

    public void DeleteFile(string path)
    {
        FileStore.Instance.DeleteFile(path);
        Remove(path);
    }

    public void DeleteFolder(string path)
    {
        FileStore.Instance.DeleteFolder(path);
        Remove(path);
    }

    public long? FreeBytes(string path) => null;

    private int Parent(string path) => _nodes[Path.GetDirectoryName(path)!];

    private void Add(string path, bool isFolder)
    {
        _log.Add(new Link(Parent(path), Path.GetFileName(path), _count, isFolder));
        _nodes.Add(path, _count++);
    }

    private void Remove(string path)
    {
        _log.Add(new Unlink(Parent(path), Path.GetFileName(path)));
        _nodes.Remove(path);
    }

    private sealed class LoggedStream(SimulatedDisk disk, Stream inner, string path, int node) : Stream
    {
        public string Path => path;

        public int Node => node;

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => inner.Length;

        public override long Position { get => inner.Position; set => inner.Position = value; }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            inner.Write(buffer);
            disk._log.Add(new Data(node, buffer.ToArray()));
        }

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Flush() => inner.Flush();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            inner.Dispose();
            base.Dispose(disposing);
        }
    }
}
