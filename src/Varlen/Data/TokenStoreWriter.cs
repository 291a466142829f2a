using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace Varlen.Data;

/// <summary>Writes a <see cref="TokenStore"/> document by document, in memory that does not grow with them except for 8 bytes each, and 8 for each place where training begins or ends.</summary>
/// <remarks>The target appears when <see cref="Complete"/> succeeds, whole; until then the ids are in a temporary file beside it.</remarks>
public sealed class TokenStoreWriter : IDisposable
{
    private readonly string _path, _temporary, _tokenizer;
    private readonly int _vocabularySize, _idBytes;
    private readonly List<long> _ends = [0];
    private readonly TrainedMarks _marks = new();
    private readonly ushort[] _narrow = new ushort[1 << 14];
    private FileStream? _stream;
    private long _targets;

    /// <summary>Begins a store.</summary>
    /// <param name="path">The target; replaced when it exists.</param>
    /// <param name="vocabularySize">Every id is below it.</param>
    /// <param name="tokenizerFingerprint">The <see cref="Text.Tokenizer.Fingerprint"/> of the tokenizer that makes the ids.</param>
    /// <exception cref="ArgumentException">The fingerprint is not 64 hexadecimal digits, or the vocabulary is empty.</exception>
    /// <exception cref="IOException">The file cannot be created.</exception>
    public TokenStoreWriter(string path, int vocabularySize, string tokenizerFingerprint)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentOutOfRangeException.ThrowIfLessThan(vocabularySize, 1);
        ArgumentNullException.ThrowIfNull(tokenizerFingerprint);
        if (tokenizerFingerprint.Length != 64 || !tokenizerFingerprint.All(char.IsAsciiHexDigit))
            throw new ArgumentException("a fingerprint has 64 hexadecimal digits; pass the tokenizer's", nameof(tokenizerFingerprint));
        if (!BitConverter.IsLittleEndian) throw new PlatformNotSupportedException("token stores are little-endian and this processor is not");
        (_path, _vocabularySize, _tokenizer, _idBytes) = (path, vocabularySize, tokenizerFingerprint, TokenStoreHeader.BitsFor(vocabularySize) / 8);
        _temporary = $"{Path.GetFullPath(path)}.{Path.GetRandomFileName()}.tmp";
        _stream = new(_temporary, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, 1 << 16);
        _stream.Write(new byte[TokenStoreHeader.Size]);
    }

    /// <summary>Documents that have ended.</summary>
    public int DocumentCount => _ends.Count - 1;

    /// <summary>Ids of all documents, the one that has not ended included.</summary>
    public long Tokens { get; private set; }

    /// <summary>Targets that are trained in the documents that have ended: a document's first token is no target.</summary>
    public long TrainedTargets { get; private set; }

    /// <summary>Tokens of each document that has ended, in order.</summary>
    internal IEnumerable<long> Lengths => _ends.Skip(1).Select((end, index) => end - _ends[index]);

    /// <summary>Appends ids to the current document.</summary>
    /// <param name="ids">The ids.</param>
    /// <param name="trained">Whether they are trained as targets; otherwise they are only read.</param>
    /// <exception cref="ArgumentException">An id is negative or not below the vocabulary's size; nothing is written then.</exception>
    public void Append(ReadOnlySpan<int> ids, bool trained = true)
    {
        FileStream stream = Open();
        int bad = ids.IndexOfAnyExceptInRange(0, _vocabularySize - 1);
        if (bad >= 0) throw new ArgumentException($"ids[{bad}] = {ids[bad]} is outside of the vocabulary of {_vocabularySize}; use the tokenizer that the store was made for", nameof(ids));
        if (ids.IsEmpty) return;
        _marks.Set(Tokens, trained);
        if (trained) _targets += Tokens == _ends[^1] ? ids.Length - 1 : ids.Length;
        Tokens += ids.Length;
        if (_idBytes == sizeof(int))
        {
            stream.Write(MemoryMarshal.AsBytes(ids));
            return;
        }
        for (; !ids.IsEmpty; ids = ids[Math.Min(ids.Length, _narrow.Length)..])
        {
            int count = Math.Min(ids.Length, _narrow.Length);
            for (int i = 0; i < count; i++) _narrow[i] = (ushort)ids[i];
            stream.Write(MemoryMarshal.AsBytes(_narrow.AsSpan(0, count)));
        }
    }

    /// <summary>Ends the current document, which may be empty.</summary>
    public void EndDocument()
    {
        Open();
        if (_ends.Count == int.MaxValue) throw new InvalidOperationException($"a store holds at most {int.MaxValue - 1} documents; write several");
        _ends.Add(Tokens);
        TrainedTargets += _targets;
        _targets = 0;
    }

    /// <summary>Forgets what was appended since the last document ended.</summary>
    public void AbandonDocument()
    {
        Tokens = _ends[^1];
        _targets = 0;
        _marks.CutBack(Tokens);
        Open().Position = TokenStoreHeader.Size + Tokens * _idBytes;
    }

    /// <summary>Writes the table and the header, flushes to the disk and renames the file to its target.</summary>
    /// <exception cref="InvalidOperationException">A document has not ended.</exception>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public void Complete()
    {
        FileStream stream = Open();
        if (Tokens != _ends[^1]) throw new InvalidOperationException("a document has not ended; end or abandon it first");
        var layout = new TokenStoreHeader(_idBytes * 8, _marks.Any, _vocabularySize, DocumentCount, Tokens, Convert.FromHexString(_tokenizer), []);
        stream.Write(new byte[layout.MarksStart - stream.Position]);
        if (_marks.Any) _marks.Write(stream, Tokens);
        foreach (long[] part in _ends.Chunk(1 << 13)) stream.Write(MemoryMarshal.AsBytes(part.AsSpan()));
        stream.SetLength(stream.Position);

        Span<byte> header = stackalloc byte[TokenStoreHeader.Size];
        (layout with { Content = Hash(stream, TokenStoreHeader.Size, []) }).Write(header);
        Hash(stream, layout.TableStart, header[..TokenStoreHeader.Hashed]).CopyTo(header[TokenStoreHeader.Hashed..]);
        stream.Position = 0;
        stream.Write(header);
        stream.Flush(flushToDisk: true);
        stream.Dispose();
        File.Move(_temporary, _path, overwrite: true);
        _stream = null;
    }

    /// <summary>Removes the temporary file, unless the store is complete.</summary>
    public void Dispose()
    {
        if (_stream is null) return;
        _stream.Dispose();
        _stream = null;
        File.Delete(_temporary);
    }

    private FileStream Open() => _stream ?? throw new ObjectDisposedException(nameof(TokenStoreWriter), "the store is complete or was disposed; begin another");

    private static byte[] Hash(FileStream stream, long from, ReadOnlySpan<byte> before)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(before);
        var block = new byte[1 << 16];
        stream.Position = from;
        for (int read; (read = stream.Read(block)) > 0;) hash.AppendData(block, 0, read);
        return hash.GetHashAndReset();
    }
}
