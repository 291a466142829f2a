using System.Runtime.InteropServices;

namespace Varlen;

/// <summary>Tensors by name to and from one safetensors file: state dictionaries, results, test data.</summary>
public static class Safetensors
{
    // Elements per piece: the byte view of a span must stay below 2 GB.
    private const int Piece = 1 << 24;

    /// <summary>Writes tensors; the file is replaced whole or left as it was. Waits for the tensors' device.</summary>
    /// <param name="path">The target.</param>
    /// <param name="tensors">Tensors under distinct names; strided ones are written densely.</param>
    /// <param name="metadata">Strings for the header, or null.</param>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public static void Save(string path, IEnumerable<KeyValuePair<string, Tensor>> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        SafetensorsWriter.Write(path, tensors.Select(entry => Source(entry.Key, entry.Value)), metadata);
    }

    /// <summary>Reads all tensors of a file. Outside of a scope the caller disposes them.</summary>
    /// <param name="path">A safetensors file.</param>
    /// <param name="device">Where to put them; the CPU when null.</param>
    /// <exception cref="CheckpointFormatException">The file is not valid, or a tensor has a type that Varlen does not compute with.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static IReadOnlyDictionary<string, Tensor> Load(string path, Device? device = null)
    {
        using SafetensorsFile file = SafetensorsFile.Open(path);
        return Load(file, device);
    }

    internal static Dictionary<string, Tensor> Load(SafetensorsFile file, Device? device) => file.Entries.ToDictionary(entry => entry.Name, entry => Load(file, entry, device));

    /// <summary>Reads one tensor of an open file.</summary>
    /// <param name="file">The file.</param>
    /// <param name="entry">One of its entries.</param>
    /// <param name="device">Where to put it; the CPU when null.</param>
    /// <exception cref="CheckpointFormatException">A dimension passes 2^31 - 1, or the type is one that Varlen does not compute with.</exception>
    public static Tensor Load(SafetensorsFile file, SafetensorsEntry entry, Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(entry);
        var sizes = new int[entry.Shape.Length];
        for (int i = 0; i < sizes.Length; i++)
            sizes[i] = entry.Shape[i] <= int.MaxValue ? (int)entry.Shape[i]
                : throw new CheckpointFormatException($"tensor {entry} has dimension {i} of {entry.Shape[i]}", file.Path, entry.Begin, "a tensor's dimensions stay below 2^31", "split the tensor");
        Tensor tensor = Tensor.Empty(new Shape(sizes), entry.DType, device);
        switch (entry.DType)
        {
            case DType.Float64: Read<double>(file, entry, tensor); break;
            case DType.Float32: Read<float>(file, entry, tensor); break;
            case DType.BFloat16: Read<BFloat16>(file, entry, tensor); break;
            case DType.Float16: Read<Half>(file, entry, tensor); break;
            case DType.Int32: Read<int>(file, entry, tensor); break;
            case DType.Int64: Read<long>(file, entry, tensor); break;
            case DType.Bool: Read<bool>(file, entry, tensor); break;
        }
        return tensor;
    }

    private static void Read<T>(SafetensorsFile file, SafetensorsEntry entry, Tensor tensor) where T : unmanaged
    {
        var piece = new T[Math.Min(Piece, tensor.Count)];
        for (long at = 0; at < tensor.Count; at += piece.Length)
        {
            Span<T> part = piece.AsSpan(0, (int)Math.Min(piece.Length, tensor.Count - at));
            file.Read(entry, at, part);
            tensor.Device.Backend.CopyFromHost(MemoryMarshal.AsBytes(part), tensor.Pointer + (nint)(at * tensor.DType.Size()));
        }
    }

    internal static SafetensorsTensor Source(string name, Tensor tensor)
    {
        long[] shape = Array.ConvertAll(tensor.Shape.Dimensions.ToArray(), size => (long)size);
        return new SafetensorsTensor(name, tensor.DType, shape, stream => Write(stream, tensor));
    }

    private static void Write(Stream stream, Tensor tensor)
    {
        using Tensor dense = tensor.IsContiguous ? tensor.UntrackedAlias() : tensor.UntrackedCopy(tensor.DType, tensor.Device);
        long bytes = dense.Count * dense.DType.Size();
        var piece = new byte[Math.Min(Piece, bytes)];
        for (long at = 0; at < bytes; at += piece.Length)
        {
            Span<byte> part = piece.AsSpan(0, (int)Math.Min(piece.Length, bytes - at));
            dense.Device.Backend.CopyToHost(dense.Pointer + (nint)at, part);
            stream.Write(part);
        }
    }
}
