using System.Buffers.Binary;

namespace Varlen.Data;

/// <summary>
/// The first 128 bytes of a token store, little-endian: magic, version, bits of an id (16-bit), whether marks follow (16-bit), vocabulary,
/// documents, tokens, and the SHA-256 of the tokenizer, of the content (ids, marks and table) and of the header with its table. Ids follow,
/// then, each from a multiple of 8 bytes: the marks, one bit a token, set where it is trained as a target, and absent when all are; and the
/// table: where each document starts, and the number of tokens at the end, as 64-bit integers.
/// </summary>
internal sealed record TokenStoreHeader(int IdBits, bool HasMarks, int VocabularySize, int Documents, long Tokens, byte[] Tokenizer, byte[] Content)
{
    public const int Size = 128, Hashed = 96, HashSize = 32;
    public const uint Version = 2;
    public static ReadOnlySpan<byte> Magic => "VARLENTK"u8;

    public int IdBytes => IdBits / 8;
    public long MarksStart => checked(Size + (Tokens * IdBytes + 7) / 8 * 8);
    public long TableStart => HasMarks ? checked(MarksStart + (Tokens + 63) / 64 * 8) : MarksStart;
    public long FileLength => checked(TableStart + (Documents + 1L) * sizeof(long));

    public static int BitsFor(int vocabularySize) => vocabularySize <= 1 << 16 ? 16 : 32;

    /// <summary>All but the header's own hash.</summary>
    public void Write(Span<byte> bytes)
    {
        Magic.CopyTo(bytes);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[8..], Version);
        BinaryPrimitives.WriteInt16LittleEndian(bytes[12..], (short)IdBits);
        BinaryPrimitives.WriteInt16LittleEndian(bytes[14..], (short)(HasMarks ? 1 : 0));
        BinaryPrimitives.WriteInt32LittleEndian(bytes[16..], VocabularySize);
        BinaryPrimitives.WriteInt32LittleEndian(bytes[20..], Documents);
        BinaryPrimitives.WriteInt64LittleEndian(bytes[24..], Tokens);
        Tokenizer.CopyTo(bytes[32..]);
        Content.CopyTo(bytes[64..]);
    }

    public static TokenStoreHeader Read(ReadOnlySpan<byte> bytes, long fileLength, string path)
    {
        if (bytes.Length < Size || !bytes.StartsWith(Magic)) throw Damaged(path, "its first bytes are not those of a token store", "name a file that Varlen wrote");
        uint version = BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]);
        if (version != Version) throw Damaged(path, $"it has version {version}, and this program reads {Version}", "write it again from the text");
        short marks = BinaryPrimitives.ReadInt16LittleEndian(bytes[14..]);
        if (marks is not (0 or 1)) throw Damaged(path, $"its header says {marks} of whether marks follow");
        var header = new TokenStoreHeader(BinaryPrimitives.ReadInt16LittleEndian(bytes[12..]), marks == 1, BinaryPrimitives.ReadInt32LittleEndian(bytes[16..]),
            BinaryPrimitives.ReadInt32LittleEndian(bytes[20..]), BinaryPrimitives.ReadInt64LittleEndian(bytes[24..]), bytes[32..64].ToArray(), bytes[64..96].ToArray());
        if (header.VocabularySize < 1 || header.IdBits != BitsFor(header.VocabularySize)) throw Damaged(path, $"it has ids of {header.IdBits} bits for a vocabulary of {header.VocabularySize}");
        if (header.Documents < 0 || header.Tokens < 0 || header.Tokens > fileLength || header.FileLength != fileLength)
            throw Damaged(path, $"it has {fileLength} bytes, which is not what {header.Documents} documents of {header.Tokens} tokens take");
        return header;
    }

    public static TextFormatException Damaged(string path, string reason, string fix = "write it again from the text") => new("the token store cannot be used", path, 0, 0, reason, fix);
}
