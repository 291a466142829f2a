using System.Security.Cryptography;
using Microsoft.Win32.SafeHandles;

namespace Varlen.Data;

/// <summary>The bytes of one file after another, in blocks of fixed size, with their place and hash.</summary>
internal sealed class TextSource(IProgress<long>? progress, CancellationToken cancellationToken) : IDisposable
{
    private readonly byte[] _buffer = new byte[1 << 18];
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private SafeFileHandle? _handle;
    private DateTime _changed;
    private int _start, _end;
    private long _read, _total;

    public string Path { get; private set; } = "";

    /// <summary>Bytes of the file.</summary>
    public long Length { get; private set; }

    /// <summary>Line of the first byte of <see cref="Rest"/>, counted from 1.</summary>
    public long Line { get; private set; }

    /// <summary>Byte of the line, counted from 1.</summary>
    public long Column { get; private set; }

    /// <summary>Whether all was read from the file; there may still be a rest.</summary>
    public bool Ended { get; private set; }

    /// <summary>What was read and not yet used.</summary>
    public ReadOnlySpan<byte> Rest => _buffer.AsSpan(_start.._end);

    /// <summary>Begins a file and reads its first block. A byte order mark of UTF-8 is left out.</summary>
    public void Open(string path)
    {
        Close();
        // Writers are not locked out: a file that changes is noticed at its end.
        _handle = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, FileOptions.SequentialScan);
        (Path, Length, _changed) = (path, RandomAccess.GetLength(_handle), File.GetLastWriteTimeUtc(_handle));
        (_start, _end, _read, Line, Column, Ended) = (0, 0, 0, 1, 1, false);
        while (_end < _buffer.Length && Fill()) { }
        if (Rest.StartsWith("\uFEFF"u8)) _start = 3;
    }

    /// <summary>Reads more behind the rest; false at the end of the file.</summary>
    public bool Fill()
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (Ended) return false;
        if (_start > 0)
        {
            Rest.CopyTo(_buffer);
            _end -= _start;
            _start = 0;
        }
        if (_end == _buffer.Length) throw new InvalidOperationException("the block is full");
        int read = RandomAccess.Read(_handle!, _buffer.AsSpan(_end), _read);
        Ended = read == 0;
        _hash.AppendData(_buffer, _end, read);
        _end += read;
        _read += read;
        _total += read;
        if (read > 0) progress?.Report(_total);
        return read > 0;
    }

    /// <summary>Uses bytes of the rest.</summary>
    public void Advance(int count)
    {
        ReadOnlySpan<byte> used = Rest[..count];
        int last = used.LastIndexOf((byte)'\n');
        if (last < 0) Column += count;
        else
        {
            Line += used.Count((byte)'\n');
            Column = count - last;
        }
        _start += count;
    }

    /// <summary>The place of a byte of the rest.</summary>
    public (long Line, long Column) PlaceOf(int index)
    {
        ReadOnlySpan<byte> before = Rest[..index];
        int last = before.LastIndexOf((byte)'\n');
        return last < 0 ? (Line, Column + index) : (Line + before.Count((byte)'\n'), index - last);
    }

    /// <summary>The hash of the file, which must have been read to its end and not have changed meanwhile.</summary>
    /// <exception cref="IOException">It has.</exception>
    public string Finish()
    {
        if (_read != Length || RandomAccess.GetLength(_handle!) != Length || File.GetLastWriteTimeUtc(_handle!) != _changed)
            throw new IOException($"{Path} changed while it was read; do not write to it meanwhile");
        return Convert.ToHexStringLower(_hash.GetHashAndReset());
    }

    public void Dispose()
    {
        Close();
        _hash.Dispose();
    }

    private void Close()
    {
        _handle?.Dispose();
        _handle = null;
        _hash.GetHashAndReset();
    }
}
