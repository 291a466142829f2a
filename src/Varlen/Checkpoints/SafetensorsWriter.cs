using Varlen.Checkpoints;

namespace Varlen;

/// <summary>
/// Writes safetensors files. Equal tensors give equal bytes whatever their order: the widest element types come first, so that every
/// tensor is aligned to its own element, then names in ordinal order; the data starts at a multiple of 8 bytes.
/// </summary>
public static class SafetensorsWriter
{
    /// <summary>
    /// Writes a file so that the target is replaced whole or left as it was: to a temporary file in the same folder, flushed to the disk,
    /// then renamed over the target. Nothing is left behind when that fails.
    /// </summary>
    /// <param name="path">The target; replaced when it exists.</param>
    /// <param name="tensors">The tensors; names are distinct.</param>
    /// <param name="metadata">Strings for the header's <c>__metadata__</c>, or null.</param>
    /// <exception cref="ArgumentException">A name appears twice, is reserved or no valid text; a tensor wrote another number of bytes than its shape has; a limit of <see cref="SafetensorsFile"/> is passed.</exception>
    /// <exception cref="IOException">The file cannot be written; the message names it and the cause is the inner exception.</exception>
    public static void Write(string path, IEnumerable<SafetensorsTensor> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(tensors);
        Plan plan = Prepare(tensors, metadata);

        string target = Path.GetFullPath(path);
        string temporary = $"{target}.{Path.GetRandomFileName()}.tmp";
        bool created = false;
        try
        {
            // Unbuffered: sources hand over large blocks, which a buffer would only copy again.
            using (var stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0))
            {
                created = true;
                plan.WriteTo(stream);
                DiskSync.File(stream.SafeFileHandle, temporary);
            }
            File.Move(temporary, target, overwrite: true);
            created = false;
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"cannot write {path}: {cause.Message}", cause);
        }
        finally
        {
            if (created) Delete(temporary);
        }
    }

    /// <summary>Checks and orders tensors, and makes the header; nothing is written.</summary>
    internal static Plan Prepare(IEnumerable<SafetensorsTensor> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        SafetensorsTensor[] ordered = [.. tensors.OrderByDescending(tensor => tensor.DType.Size()).ThenBy(tensor => tensor.Name, StringComparer.Ordinal)];
        return new(SafetensorsHeaderText.Make(ordered, metadata), ordered);
    }

    private static void WriteTensor(Stream stream, SafetensorsTensor tensor)
    {
        long size = tensor.ByteLength;
        long start = stream.Position;
        tensor.Write(stream);
        long written = stream.Position - start;
        if (written != size)
            throw new ArgumentException($"tensor {JsonText.Quote(tensor.Name)} wrote {written} bytes, and its shape [{string.Join(", ", tensor.Shape.ToArray())}] of {tensor.DType} has {size}; write every element once", nameof(tensor));
    }

    private static void Delete(string temporary)
    {
        try
        {
            File.Delete(temporary);
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            // The failure that led here is the one to report.
        }
    }

    /// <summary>A file that is ready to be written.</summary>
    internal readonly record struct Plan(byte[] Header, SafetensorsTensor[] Tensors)
    {
        public long Length => Header.Length + Tensors.Sum(tensor => tensor.ByteLength);

        public void WriteTo(Stream stream)
        {
            stream.Write(Header);
            foreach (SafetensorsTensor tensor in Tensors) WriteTensor(stream, tensor);
        }
    }
}
