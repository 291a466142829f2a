using System.Buffers;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Varlen.Checkpoints;

/// <summary>Writes the files of one checkpoint; valid inside of <see cref="CheckpointFolder.Save(long, Action{CheckpointWriter})"/> only. Files are hashed as they are written, and on the disk when a call returns.</summary>
public sealed class CheckpointWriter
{
    private static readonly JsonWriterOptions Readable = new() { Indented = true, NewLine = "\n" };
    private readonly IFileStore _store;
    private readonly string _folder;
    private readonly List<CheckpointFile> _files = [];
    private readonly HashSet<string> _names = new(StringComparer.OrdinalIgnoreCase);

    internal CheckpointWriter(IFileStore store, string folder) => (_store, _folder) = (store, folder);

    /// <summary>Bytes of all files begun so far, written or not.</summary>
    internal long NeededBytes { get; private set; }

    /// <summary>Writes tensors as a safetensors file. Waits for their device.</summary>
    /// <param name="name">Name of the file, such as "model.safetensors": letters, digits, '.', '-' and '_'.</param>
    /// <param name="tensors">Tensors under distinct names; strided ones are written densely.</param>
    /// <param name="metadata">Strings for the header, or null.</param>
    /// <exception cref="ArgumentException">The name cannot be a file's or is taken, or the tensors' names do not differ.</exception>
    public void WriteTensors(string name, IEnumerable<KeyValuePair<string, Tensor>> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        SafetensorsWriter.Plan plan = SafetensorsWriter.Prepare(tensors.Select(entry => Safetensors.Source(entry.Key, entry.Value)), metadata);
        Write(name, plan.Length, plan.WriteTo);
    }

    /// <summary>Writes a JSON text.</summary>
    /// <param name="name">Name of the file, such as "trainer.json": letters, digits, '.', '-' and '_'.</param>
    /// <param name="value">The value; its numbers must be finite.</param>
    /// <exception cref="ArgumentException">The name cannot be a file's or is taken, or a number is not finite.</exception>
    public void WriteJson(string name, JsonNode value)
    {
        ArgumentNullException.ThrowIfNull(value);
        var text = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(text, Readable)) value.WriteTo(writer);
        text.Write("\n"u8);
        Write(name, text.WrittenCount, stream => stream.Write(text.WrittenSpan));
    }

    /// <summary>Writes the manifest: afterwards the folder is complete.</summary>
    internal void Finish(long step)
    {
        byte[] manifest = new CheckpointManifest(step, _files).ToBytes();
        if (manifest.Length > CheckpointManifest.LargestText) throw new InvalidOperationException($"a checkpoint of {_files.Count} files is too large for its manifest; write fewer");
        WriteFile(CheckpointManifest.FileName, manifest.Length, stream => stream.Write(manifest));
    }

    private void Write(string name, long length, Action<Stream> write)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (!CheckpointFile.IsName(name)) throw new ArgumentException($"{JsonText.Quote(name)} cannot be the name of a checkpoint's file; use letters, digits, '.', '-' and '_'", nameof(name));
        if (!_names.Add(name)) throw new ArgumentException($"the checkpoint has a file {JsonText.Quote(name)} already; use another name", nameof(name));
        _files.Add(WriteFile(name, length, write));
    }

    private CheckpointFile WriteFile(string name, long length, Action<Stream> write)
    {
        NeededBytes += length;
        string path = Path.Combine(_folder, name);
        using Stream file = StoreException.Run("create file", path, () => _store.CreateFile(path));
        using var hashing = new HashingStream(file, path);
        write(hashing);
        StoreException.Run("sync file", path, () => _store.SyncFile(file));
        return new(name, hashing.Length, hashing.Hash());
    }
}
