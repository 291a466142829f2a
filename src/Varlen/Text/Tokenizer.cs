using System.Security.Cryptography;
using System.Text;

namespace Varlen.Text;

/// <summary>Text to ids and back.</summary>
/// <remarks>Immutable and safe to use from several threads at once.</remarks>
public abstract class Tokenizer
{
    /// <summary>Number of ids; every id is below it.</summary>
    public abstract int VocabularySize { get; }

    /// <summary>The id that ends a document.</summary>
    public abstract int EndOfText { get; }

    /// <summary>SHA-256, in hexadecimal digits, of all that decides which ids a text gets: equal for tokenizers that encode alike.</summary>
    public virtual string Fingerprint
    {
        get
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            hash.AppendData(Encoding.ASCII.GetBytes($"{GetType().FullName} {VocabularySize} {EndOfText}\n"));
            for (int id = 0; id < VocabularySize; id++)
            {
                hash.AppendData(BitConverter.GetBytes(Bytes(id).Length));
                hash.AppendData(Bytes(id));
            }
            return Convert.ToHexStringLower(hash.GetHashAndReset());
        }
    }

    /// <summary>
    /// Reads <c>tokenizer.json</c>: what <see cref="Save"/> writes, and HuggingFace's byte-level byte-pair encodings such as GPT-2's. All else
    /// (normalizers, other splits, tokens added around a text) is refused by name. Expressions in the file are never executed.
    /// </summary>
    /// <param name="path">The file, or a folder that holds <c>tokenizer.json</c>.</param>
    /// <exception cref="TextFormatException">The file breaks a rule, or asks for something that is not modelled.</exception>
    /// <exception cref="IOException">The file is missing or cannot be read.</exception>
    public static Tokenizer Load(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        BytePairModel model = TokenizerReader.Load(Directory.Exists(path) ? Path.Combine(path, "tokenizer.json") : path);
        return model.IsBytes ? new ByteTokenizer() : new BytePairTokenizer(model);
    }

    /// <summary>The ids of UTF-8 text, appended to a list. Text that spells a special token stays text.</summary>
    public abstract void Encode(ReadOnlySpan<byte> utf8, List<int> ids);

    /// <summary>The bytes of one id; empty for special tokens.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The id is negative or not below <see cref="VocabularySize"/>.</exception>
    public abstract ReadOnlySpan<byte> Bytes(int id);

    /// <summary>Writes the tokenizer as HuggingFace's <c>tokenizer.json</c>.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public abstract void Save(string path);

    /// <summary>The ids of a text.</summary>
    public int[] Encode(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var ids = new List<int>();
        Encode(Encoding.UTF8.GetBytes(text), ids);
        return [.. ids];
    }

    /// <summary>The text of ids, without special tokens; bytes that are no UTF-8 become U+FFFD.</summary>
    public string Decode(IEnumerable<int> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var bytes = new List<byte>();
        foreach (int id in ids) bytes.AddRange(Bytes(id));
        return Encoding.UTF8.GetString([.. bytes]);
    }

    /// <summary>Bytes of a beginning whose ids do not depend on what follows; 0 when there is none.</summary>
    internal virtual int StablePrefix(ReadOnlySpan<byte> utf8) => WordSplitter.StablePrefix(utf8);
}
