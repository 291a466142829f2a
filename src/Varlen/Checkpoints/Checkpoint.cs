using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Win32.SafeHandles;

namespace Varlen.Checkpoints;

/// <summary>
/// A saved checkpoint whose files have been verified, open for reading through the same handles: what happens to the folder afterwards,
/// its removal included, changes nothing. Not thread-safe.
/// </summary>
public sealed class Checkpoint : IDisposable
{
    private readonly Dictionary<string, SafeFileHandle> _handles;
    private readonly Dictionary<string, SafetensorsFile> _tensors = [];

    internal Checkpoint(string path, long step, IReadOnlyList<CheckpointFile> files, Dictionary<string, SafeFileHandle> handles)
        => (Path, Step, Files, _handles) = (path, step, files, handles);

    /// <summary>Its folder.</summary>
    public string Path { get; }

    /// <summary>The step it was saved after.</summary>
    public long Step { get; }

    /// <summary>Its files.</summary>
    public IReadOnlyList<CheckpointFile> Files { get; }

    /// <summary>Reads all tensors of a file. Outside of a scope the caller disposes them.</summary>
    /// <param name="name">Name of the file as it was written.</param>
    /// <param name="device">Where to put them; the CPU when null.</param>
    /// <exception cref="CheckpointFormatException">There is no such file, or it holds no tensors.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public IReadOnlyDictionary<string, Tensor> ReadTensors(string name, Device? device = null) => Safetensors.Load(OpenTensors(name), device);

    /// <summary>A file of tensors, to read them one by one; it stays the checkpoint's.</summary>
    /// <param name="name">Name of the file as it was written.</param>
    /// <exception cref="CheckpointFormatException">There is no such file, or it holds no tensors.</exception>
    public SafetensorsFile OpenTensors(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (_tensors.TryGetValue(name, out SafetensorsFile? open)) return open;
        SafeFileHandle handle = Handle(name);
        _handles.Remove(name);
        return _tensors[name] = SafetensorsFile.Open(handle, System.IO.Path.Combine(Path, name));
    }

    /// <summary>Reads a JSON text.</summary>
    /// <param name="name">Name of the file as it was written.</param>
    /// <exception cref="CheckpointFormatException">There is no such file, or it is no JSON text.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public JsonNode ReadJson(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        byte[] text = CheckpointReader.ReadAll(Handle(name), Files.First(file => file.Name == name).Size);
        try
        {
            return JsonNode.Parse(text, documentOptions: new JsonDocumentOptions { AllowDuplicateProperties = false }) ?? throw new JsonException("it holds nothing but null");
        }
        catch (JsonException e)
        {
            throw new CheckpointFormatException("no JSON text", System.IO.Path.Combine(Path, name), 0, e.Message, "read a file that was written as JSON", e);
        }
    }

    /// <summary>Closes the files.</summary>
    public void Dispose()
    {
        foreach (SafetensorsFile file in _tensors.Values) file.Dispose();
        foreach (SafeFileHandle handle in _handles.Values) handle.Dispose();
    }

    private SafeFileHandle Handle(string name)
        => _handles.TryGetValue(name, out SafeFileHandle? handle) ? handle
            : throw new CheckpointFormatException($"the checkpoint has no file {JsonText.Quote(name)}", Path, 0, $"it has {string.Join(", ", Files.Select(file => file.Name))}", "use a checkpoint of the same kind of run");
}
