using System.IO.MemoryMappedFiles;
using System.Security.Cryptography;
using Microsoft.Win32.SafeHandles;

namespace Varlen.Data;

/// <summary>
/// The ids of documents in one memory-mapped file, so that training neither holds a corpus in managed memory nor reads its text again.
/// Made by <see cref="TokenStoreWriter"/> or <see cref="TextCorpus.Tokenize"/>.
/// </summary>
/// <remarks>
/// Opening checks the header and the table of documents against their hash; every id is checked against the vocabulary when it is copied
/// out, and <see cref="Verify"/> checks the whole content. Safe to share between threads until disposed. Do not shorten the file meanwhile:
/// it is mapped.
/// </remarks>
public sealed unsafe partial class TokenStore : IDisposable
{
    private readonly TokenStoreHeader _header;
    private readonly MemoryMappedFile _map;
    private readonly MemoryMappedViewAccessor _view;
    private byte* _start;

    private TokenStore(string path, TokenStoreHeader header, MemoryMappedFile map)
    {
        (Path, _header, _map) = (path, header, map);
        _view = map.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _start);
        _start += _view.PointerOffset;
    }

    /// <summary>The path it was opened by.</summary>
    public string Path { get; }

    /// <summary>Number of documents.</summary>
    public int DocumentCount => _header.Documents;

    /// <summary>Ids of all documents together.</summary>
    public long Tokens => _header.Tokens;

    /// <summary>Every id is below it.</summary>
    public int VocabularySize => _header.VocabularySize;

    /// <summary>The <see cref="Text.Tokenizer.Fingerprint"/> of the tokenizer that made the ids.</summary>
    public string TokenizerFingerprint => Convert.ToHexStringLower(_header.Tokenizer);

    /// <summary>SHA-256 of ids, marks and documents, in hexadecimal digits: the identity of the data.</summary>
    public string ContentHash => Convert.ToHexStringLower(_header.Content);

    /// <summary>Opens a store and checks its header and table.</summary>
    /// <exception cref="TextFormatException">The file is no store, or damaged.</exception>
    /// <exception cref="IOException">The file is missing or cannot be read.</exception>
    public static TokenStore Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (!BitConverter.IsLittleEndian) throw new PlatformNotSupportedException("token stores are little-endian and this processor is not");
        if (File.Exists(path) && new FileInfo(path).Length == 0) throw TokenStoreHeader.Damaged(path, "it is empty");
        using SafeFileHandle handle = File.OpenHandle(path);
        long length = RandomAccess.GetLength(handle);
        var bytes = new byte[TokenStoreHeader.Size];
        for (int done = 0, read; done < bytes.Length; done += read)
            if ((read = RandomAccess.Read(handle, bytes.AsSpan(done), done)) == 0) throw TokenStoreHeader.Damaged(path, $"it ends after {done} bytes");
        TokenStoreHeader header = TokenStoreHeader.Read(bytes, length, path);
        var store = new TokenStore(path, header, MemoryMappedFile.CreateFromFile(handle, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true));
        try
        {
            store.CheckTable(bytes);
            return store;
        }
        catch
        {
            store.Dispose();
            throw;
        }
    }

    /// <summary>Tokens of a document.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such document.</exception>
    public long Length(int document)
    {
        Require(document);
        return Table[document + 1] - Table[document];
    }

    /// <summary>Copies ids of a document.</summary>
    /// <param name="document">Index of the document.</param>
    /// <param name="start">First token, counted from the document's start.</param>
    /// <param name="destination">Filled whole.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such document, or the tokens lie outside of it.</exception>
    /// <exception cref="TextFormatException">An id is not below the vocabulary's size: the file is damaged.</exception>
    public void CopyTokens(int document, long start, Span<int> destination)
    {
        Require(document);
        long first = Table[document], length = Table[document + 1] - first;
        if (start < 0 || start > length - destination.Length)
            throw new ArgumentOutOfRangeException(nameof(start), start, $"{destination.Length} tokens from there lie outside of document {document}, which has {length}");
        first += start;
        if (_header.IdBits == 32) new ReadOnlySpan<int>(Ids + first * sizeof(int), destination.Length).CopyTo(destination);
        else
        {
            ushort* ids = (ushort*)Ids + first;
            for (int i = 0; i < destination.Length; i++) destination[i] = ids[i];
        }
        int bad = destination.IndexOfAnyExceptInRange(0, VocabularySize - 1);
        if (bad >= 0) throw TokenStoreHeader.Damaged(Path, $"token {start + bad} of document {document} is {(uint)destination[bad]}, and the vocabulary has {VocabularySize}");
        GC.KeepAlive(this);
    }

    /// <summary>The tokens of a document in an array of its own.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such document, or an array cannot hold it.</exception>
    public int[] Read(int document)
    {
        long length = Length(document);
        if (length > Array.MaxLength) throw new ArgumentOutOfRangeException(nameof(document), document, $"the document has {length} tokens, more than an array holds; use CopyTokens");
        var ids = new int[length];
        CopyTokens(document, 0, ids);
        return ids;
    }

    /// <summary>Reads the whole content: its hash, and every id against the vocabulary.</summary>
    /// <exception cref="TextFormatException">The file is damaged.</exception>
    public void Verify()
    {
        if (!Hash(TokenStoreHeader.Size, []).AsSpan().SequenceEqual(_header.Content)) throw TokenStoreHeader.Damaged(Path, "its content does not have the hash that was stored with it");
        var block = new int[1 << 14];
        for (int document = 0; document < DocumentCount; document++)
            for (long start = 0, length = Length(document); start < length; start += block.Length)
                CopyTokens(document, start, block.AsSpan(0, (int)Math.Min(block.Length, length - start)));
    }

    /// <summary>Closes the file. Nobody may be reading from it.</summary>
    public void Dispose()
    {
        if (_start == null) return;
        _start = null;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _map.Dispose();
    }

    private byte* Ids => _start + TokenStoreHeader.Size;

    private long* Table => (long*)(_start + _header.TableStart);

    private void Require(int document)
    {
        ObjectDisposedException.ThrowIf(_start == null, this);
        if ((uint)document >= (uint)DocumentCount) throw new ArgumentOutOfRangeException(nameof(document), document, $"the store has {DocumentCount} documents, counted from 0");
    }

    private void CheckTable(ReadOnlySpan<byte> header)
    {
        if (!Hash(_header.TableStart, header[..TokenStoreHeader.Hashed]).AsSpan().SequenceEqual(header[TokenStoreHeader.Hashed..]))
            throw TokenStoreHeader.Damaged(Path, "its header does not have the hash that was stored with it");
        for (int document = 0; document <= DocumentCount; document++)
            if (document == 0 ? Table[0] != 0 : Table[document] < Table[document - 1]) throw TokenStoreHeader.Damaged(Path, $"its table places document {document} at token {Table[document]}");
        if (Table[DocumentCount] != Tokens) throw TokenStoreHeader.Damaged(Path, $"its table ends at token {Table[DocumentCount]} of {Tokens}");
    }

    private byte[] Hash(long from, ReadOnlySpan<byte> before)
    {
        ObjectDisposedException.ThrowIf(_start == null, this);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(before);
        for (int length; from < _header.FileLength; from += length)
        {
            length = (int)Math.Min(1 << 20, _header.FileLength - from);
            hash.AppendData(new ReadOnlySpan<byte>(_start + from, length));
        }
        return hash.GetHashAndReset();
    }
}
