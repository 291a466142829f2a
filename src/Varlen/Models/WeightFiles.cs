using Varlen.Checkpoints;

namespace Varlen.Models;

/// <summary>The weights of a model's folder: one safetensors file, or shards and their index.</summary>
internal sealed class WeightFiles : IDisposable
{
    /// <summary>The file of a model in one piece.</summary>
    public const string Single = "model.safetensors";

    private const string IndexName = $"{Single}.index.json", Blobs = "blobs", Snapshots = "snapshots";

    private readonly List<SafetensorsFile> _files = [];

    private WeightFiles(string path) => Path = path;

    /// <summary>The file, or the index.</summary>
    public string Path { get; }

    /// <summary>All tensors with their files.</summary>
    public IEnumerable<(SafetensorsFile File, SafetensorsEntry Entry)> Tensors => _files.SelectMany(file => file.Entries.Select(entry => (file, entry)));

    /// <exception cref="CheckpointFormatException">A file breaks its format, or index and shards do not fit together; the message names all that does not.</exception>
    /// <exception cref="IOException">A file is missing or cannot be read.</exception>
    public static WeightFiles Open(string folder)
    {
        // Links in a folder that is a link itself are relative to where it really lies.
        folder = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(folder));
        folder = System.IO.Path.GetFullPath(Directory.ResolveLinkTarget(folder, returnFinalTarget: true)?.FullName ?? folder);
        string path = System.IO.Path.Combine(folder, Single), index = System.IO.Path.Combine(folder, IndexName);
        bool isSingle = File.Exists(path);
        if (!isSingle && !File.Exists(index))
        {
            string reason = File.Exists(System.IO.Path.Combine(folder, "pytorch_model.bin")) || File.Exists(System.IO.Path.Combine(folder, "pytorch_model.bin.index.json"))
                ? "pytorch_model.bin is a Python pickle, which may run code and is never opened; convert it with safetensors.torch.save_file"
                : "a model's folder holds config.json and model.safetensors, or shards and their index";
            throw new FileNotFoundException($"{path} is missing; {reason}", path);
        }
        var weights = new WeightFiles(isSingle ? path : index);
        try
        {
            if (isSingle) weights._files.Add(SafetensorsFile.Open(path));
            else weights.OpenShards(folder);
            return weights;
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (SafetensorsFile file in _files) file.Dispose();
    }

    private void OpenShards(string folder)
    {
        ShardIndex index = ShardIndex.Open(Path);
        foreach (string shard in index.Shards)
        {
            string path = System.IO.Path.Combine(folder, shard);
            if (!File.Exists(path)) throw new FileNotFoundException($"{path} is missing; {Path} names it as a shard; copy all shards into the folder", path);
            RequireInside(folder, path);
            _files.Add(SafetensorsFile.Open(path));
        }
        var found = new Dictionary<string, string>(StringComparer.Ordinal);
        var problems = new ProblemList();
        foreach ((SafetensorsFile file, SafetensorsEntry entry) in Tensors)
        {
            string shard = System.IO.Path.GetFileName(file.Path);
            if (!found.TryAdd(entry.Name, shard)) problems.Add($"{JsonText.Quote(entry.Name)} is in {JsonText.Quote(found[entry.Name])} and in {JsonText.Quote(shard)}");
            else if (!index.Tensors.TryGetValue(entry.Name, out string? place)) problems.Add($"{JsonText.Quote(entry.Name)} of {JsonText.Quote(shard)} is not in the index");
            else if (place != shard) problems.Add($"{JsonText.Quote(entry.Name)} is in {JsonText.Quote(shard)}, and should be in {JsonText.Quote(place)}");
        }
        foreach ((string tensor, string shard) in index.Tensors)
            if (!found.ContainsKey(tensor)) problems.Add($"{JsonText.Quote(tensor)} is not in {JsonText.Quote(shard)}");
        if (problems.Count > 0)
            throw new CheckpointFormatException($"{problems.Count} tensors are not where the index says", Path, 0, problems.ToString(), "use the index that was saved with the weights");
    }

    /// <summary>
    /// Refuses a link that leads out of the folder. The cache of HuggingFace's hub is all links, from <c>snapshots/REVISION</c> to
    /// <c>blobs</c> beside it: what lies there belongs to the same download.
    /// </summary>
    private static void RequireInside(string folder, string path)
    {
        if (File.ResolveLinkTarget(path, returnFinalTarget: true) is not { } target) return;
        string? place = System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(target.FullName)), parent = System.IO.Path.GetDirectoryName(folder);
        if (place == folder) return;
        if (System.IO.Path.GetFileName(parent) == Snapshots && place == System.IO.Path.Combine(System.IO.Path.GetDirectoryName(parent)!, Blobs)) return;
        throw new CheckpointFormatException("a shard is a link that leads out of its folder", path, 0, $"it points to {JsonText.Quote(target.FullName)}", "copy the file into the folder, or give the folder that holds it");
    }
}

/// <summary>What does not fit, for a message: all is counted, and the first are listed.</summary>
internal sealed class ProblemList
{
    private const int Listed = 50;

    private readonly List<string> _first = [];

    public int Count { get; private set; }

    public void Add(string problem)
    {
        if (Count++ < Listed) _first.Add(problem);
    }

    public override string ToString() => string.Join("; ", _first) + (Count > Listed ? $"; and {Count - Listed} more" : "");
}
