using System.Diagnostics.CodeAnalysis;
using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Varlen.Checkpoints;

namespace Varlen;

/// <summary>
/// A safetensors file, opened for reading. The header is validated whole before anything else is used: lengths, names, shapes, element
/// types, and that the tensors' bytes fill the data exactly. The format is the one of https://github.com/huggingface/safetensors.
/// Limits beyond the format's own: 262,144 tensors, as many metadata keys, 32 dimensions, 64 KiB a name.
/// </summary>
/// <remarks>
/// Safe to share between threads until disposed. The file is opened once, so replacing it on disk changes nothing here.
/// <see cref="Read(SafetensorsEntry, long, Span{byte})"/> reports a file that shrinks while open; memory obtained from
/// <see cref="GetBytes"/> and <see cref="GetPointer"/> is mapped, and touching it then ends the process, as with any mapping.
/// </remarks>
public sealed unsafe class SafetensorsFile : IDisposable
{
    private readonly SafeFileHandle _handle;
    private readonly SafetensorsHeader _header;
    private readonly Lock _mapping = new();
    private MemoryMappedFile? _map;
    private MemoryMappedViewAccessor? _view;
    private byte* _start;
    private bool _disposed;

    private SafetensorsFile(string path, SafeFileHandle handle, SafetensorsHeader header) => (Path, _handle, _header) = (path, handle, header);

    /// <summary>The path it was opened by.</summary>
    public string Path { get; }

    /// <summary>Number of tensors.</summary>
    public int Count => _header.Count;

    /// <summary>Names of the tensors, in the order of the header.</summary>
    public IEnumerable<string> Names => Enumerable.Range(0, Count).Select(_header.NameOf);

    /// <summary>The tensors, in the order of the header.</summary>
    public IEnumerable<SafetensorsEntry> Entries => Enumerable.Range(0, Count).Select(index => _header[index]);

    /// <summary>The header's <c>__metadata__</c>; empty when it has none.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _header.Metadata;

    /// <summary>Opens a file and validates its header.</summary>
    /// <exception cref="CheckpointFormatException">The file is of another kind, or its header breaks a rule of the format.</exception>
    /// <exception cref="IOException">The file is missing or cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">The file may not be read, or is a folder.</exception>
    public static SafetensorsFile Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        // Opening a pipe would wait for its writer; pipes, sockets and devices have no length.
        if (File.Exists(path) && new FileInfo(File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path).Length == 0)
            SafetensorsContainer.ReadHeaderLength([], 0, path);
        return Open(File.OpenHandle(path), path);
    }

    /// <summary>Takes over an open handle, and validates its file's header.</summary>
    internal static SafetensorsFile Open(SafeFileHandle handle, string path)
    {
        try
        {
            long length = RandomAccess.GetLength(handle);
            Span<byte> start = stackalloc byte[(int)Math.Min(length, SafetensorsContainer.Enough)];
            ReadExactly(handle, start, 0, path);
            var header = new byte[SafetensorsContainer.Prefix + SafetensorsContainer.ReadHeaderLength(start, length, path)];
            ReadExactly(handle, header, 0, path);
            return new(path, handle, SafetensorsHeader.Parse(header, length, path));
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Finds a tensor by name.</summary>
    public bool TryGetEntry(string name, [NotNullWhen(true)] out SafetensorsEntry? entry)
    {
        ArgumentNullException.ThrowIfNull(name);
        entry = _header.Find(name);
        return entry is not null;
    }

    /// <summary>The tensor of that name.</summary>
    /// <exception cref="KeyNotFoundException">There is none.</exception>
    public SafetensorsEntry this[string name] => TryGetEntry(name, out SafetensorsEntry? entry)
        ? entry
        : throw new KeyNotFoundException($"{Path} has no tensor {JsonText.Quote(name)}; it has {Count} others, listed by Names");

    /// <summary>Copies elements of a tensor out of the file.</summary>
    /// <typeparam name="T">The .NET type of the tensor's elements: double, float, <see cref="BFloat16"/>, Half, int, long or bool.</typeparam>
    /// <param name="entry">An entry of this file.</param>
    /// <param name="first">Index of the first element, in row-major order.</param>
    /// <param name="destination">Filled whole.</param>
    /// <exception cref="ArgumentException"><typeparamref name="T"/> is not the tensor's type, or the elements lie outside the tensor.</exception>
    /// <exception cref="CheckpointFormatException">The element type is not supported, a BOOL is neither 0 nor 1, or the file has shrunk.</exception>
    public void Read<T>(SafetensorsEntry entry, long first, Span<T> destination) where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(entry);
        if (entry.DType != DTypes.Of<T>())
            throw new ArgumentException($"tensor {JsonText.Quote(entry.Name)} holds {entry.DTypeName} and cannot be read as {typeof(T).Name}; ask for its own type and convert", nameof(entry));
        if (!BitConverter.IsLittleEndian && sizeof(T) > 1)
            throw new PlatformNotSupportedException("safetensors values are little-endian and this processor is not");
        long count = entry.ByteLength / sizeof(T);
        if (first < 0 || first > count - destination.Length)
            throw new ArgumentOutOfRangeException(nameof(first), first, $"{destination.Length} elements from there lie outside tensor {JsonText.Quote(entry.Name)}, which has {count}");
        // In pieces: the byte view of a span must not pass 2 GB.
        const int Piece = 1 << 24;
        for (int done = 0; done < destination.Length; done += Piece)
        {
            Span<byte> bytes = MemoryMarshal.AsBytes(destination.Slice(done, Math.Min(Piece, destination.Length - done)));
            Read(entry, (first + done) * sizeof(T), bytes);
            if (typeof(T) == typeof(bool)) RequireBooleans(entry, first + done, bytes);
        }
    }

    /// <summary>Copies raw bytes of a tensor of any element type out of the file.</summary>
    /// <param name="entry">An entry of this file.</param>
    /// <param name="offset">First byte, counted from the tensor's begin.</param>
    /// <param name="destination">Filled whole.</param>
    /// <exception cref="ArgumentOutOfRangeException">The bytes lie outside the tensor.</exception>
    /// <exception cref="CheckpointFormatException">The file has shrunk since it was opened.</exception>
    public void Read(SafetensorsEntry entry, long offset, Span<byte> destination)
    {
        ArgumentNullException.ThrowIfNull(entry);
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (offset < 0 || offset > entry.ByteLength - destination.Length)
            throw new ArgumentOutOfRangeException(nameof(offset), offset, $"{destination.Length} bytes from there lie outside tensor {JsonText.Quote(entry.Name)}, which has {entry.ByteLength}");
        ReadExactly(_handle, destination, entry.Begin + offset, Path);
    }

    /// <summary>The raw bytes of a tensor of any element type, mapped and not copied; valid until the file is disposed. Little-endian, row-major, and possibly not aligned.</summary>
    /// <exception cref="ArgumentException">The tensor is above the 2 GB that a span can hold; use <see cref="GetPointer"/>.</exception>
    public ReadOnlySpan<byte> GetBytes(SafetensorsEntry entry)
    {
        ArgumentNullException.ThrowIfNull(entry);
        if (entry.ByteLength > int.MaxValue)
            throw new ArgumentException($"tensor {JsonText.Quote(entry.Name)} has {entry.ByteLength} bytes, more than a span can hold; use GetPointer or Read", nameof(entry));
        return new(GetPointer(entry), (int)entry.ByteLength);
    }

    /// <summary>The first byte of a tensor of any size, mapped; <see cref="SafetensorsEntry.ByteLength"/> bytes are valid until the file is disposed.</summary>
    public byte* GetPointer(SafetensorsEntry entry)
    {
        ArgumentNullException.ThrowIfNull(entry);
        lock (_mapping)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_start == null) Map();
            return _start + entry.Begin;
        }
    }

    /// <summary>Closes the file and releases the mapping; entries and metadata stay readable.</summary>
    public void Dispose()
    {
        lock (_mapping)
        {
            if (_disposed) return;
            _disposed = true;
            if (_start != null) _view!.SafeMemoryMappedViewHandle.ReleasePointer();
            _start = null;
            _view?.Dispose();
            _map?.Dispose();
            _handle.Dispose();
        }
    }

    private void Map()
    {
        _map = MemoryMappedFile.CreateFromFile(_handle, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
        _view = _map.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
        byte* pointer = null;
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref pointer);
        _start = pointer + _view.PointerOffset;
    }

    private void RequireBooleans(SafetensorsEntry entry, long first, ReadOnlySpan<byte> values)
    {
        int bad = values.IndexOfAnyExceptInRange((byte)0, (byte)1);
        if (bad >= 0)
            throw new CheckpointFormatException($"element {first + bad} of tensor {JsonText.Quote(entry.Name)} is {values[bad]}", Path, entry.Begin + first + bad, "a BOOL is 0 or 1", "store the tensor as U8, or write it again");
    }

    private static void ReadExactly(SafeFileHandle handle, Span<byte> destination, long offset, string path)
    {
        while (!destination.IsEmpty)
        {
            int read = RandomAccess.Read(handle, destination, offset);
            if (read == 0)
                throw new CheckpointFormatException("the file ends too early", path, offset, $"{destination.Length} more bytes were there when it was opened", "do not write to a file that is being read");
            destination = destination[read..];
            offset += read;
        }
    }
}
