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
    /// Reads a byte-level byte-pair encoding in HuggingFace's files: <c>tokenizer.json</c> with the split of GPT-2, GPT-4, GPT-4o, Llama-3,
    /// Qwen, SmolLM or Mistral's Tekken, or GPT-2's <c>vocab.json</c> and <c>merges.txt</c>. All else is refused by name, and expressions in
    /// files are compared, never executed.
    /// </summary>
    /// <param name="path">A <c>tokenizer.json</c>, or a folder that holds it or the other two.</param>
    /// <remarks>
    /// What ends a document is told by <c>eos_token</c> in <c>tokenizer_config.json</c> or <c>special_tokens_map.json</c>, or by
    /// <c>eos_token_id</c> in <c>config.json</c>, all in the same folder; without them it is <c>&lt;|endoftext|&gt;</c>, or the only special token.
    /// </remarks>
    /// <exception cref="TextFormatException">A file breaks a rule, or asks for something that is not modelled.</exception>
    /// <exception cref="IOException">A file is missing or cannot be read.</exception>
    public static Tokenizer Load(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        string file = Directory.Exists(path) ? Path.Combine(path, "tokenizer.json") : path;
        BytePairModel model = file != path && !File.Exists(file) && TokenizerReader.HasVocabularyFiles(path) ? TokenizerReader.LoadFolder(path) : TokenizerReader.Load(file);
        return model.IsBytes ? new ByteTokenizer() : new BytePairTokenizer(model);
    }

    /// <summary>The special tokens that the tokenizer's template puts before a text; see <see cref="SpecialTokens.Around"/>.</summary>
    public virtual ReadOnlySpan<int> PrefixTokens => [];

    /// <summary>The special tokens that the tokenizer's template puts behind a text.</summary>
    public virtual ReadOnlySpan<int> SuffixTokens => [];

    /// <summary>The ids of UTF-8 text, appended to a list. Text that spells a special token stays text.</summary>
    public abstract void Encode(ReadOnlySpan<byte> utf8, List<int> ids);

    /// <summary>The ids of UTF-8 text, appended to a list.</summary>
    /// <param name="utf8">The text.</param>
    /// <param name="ids">Gets the ids.</param>
    /// <param name="special">Which special tokens are recognised and added.</param>
    public void Encode(ReadOnlySpan<byte> utf8, List<int> ids, SpecialTokens special)
    {
        ArgumentNullException.ThrowIfNull(ids);
        if (special.HasFlag(SpecialTokens.Around)) ids.AddRange(PrefixTokens);
        if (special.HasFlag(SpecialTokens.InText)) EncodeWithSpecialTokens(utf8, ids);
        else Encode(utf8, ids);
        if (special.HasFlag(SpecialTokens.Around)) ids.AddRange(SuffixTokens);
    }

    /// <summary>The bytes of one id; empty for special tokens.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The id is negative or not below <see cref="VocabularySize"/>.</exception>
    public abstract ReadOnlySpan<byte> Bytes(int id);

    /// <summary>How a special token is spelled; null when the id is none.</summary>
    public virtual string? SpecialToken(int id) => null;

    /// <summary>The id of a special token.</summary>
    /// <param name="name">How it is spelled.</param>
    /// <param name="id">Its id.</param>
    /// <returns>False when there is no such special token.</returns>
    public virtual bool TryGetSpecialToken(string name, out int id)
    {
        id = -1;
        return false;
    }

    /// <summary>
    /// Writes the tokenizer as HuggingFace's <c>tokenizer.json</c>. Where that cannot say which token ends a document, <c>eos_token</c> in the
    /// <c>tokenizer_config.json</c> beside it does, whose other keys stay.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public abstract void Save(string path);

    /// <summary>The ids of a text.</summary>
    /// <param name="text">The text.</param>
    /// <param name="special">Which special tokens are recognised and added; none by default.</param>
    public int[] Encode(string text, SpecialTokens special = SpecialTokens.None)
    {
        ArgumentNullException.ThrowIfNull(text);
        var ids = new List<int>();
        Encode(Encoding.UTF8.GetBytes(text), ids, special);
        return [.. ids];
    }

    /// <summary>The text of ids; bytes that are no UTF-8 become U+FFFD.</summary>
    /// <param name="ids">The ids.</param>
    /// <param name="skipSpecialTokens">Whether special tokens are left out; else they appear as they are spelled.</param>
    public string Decode(IEnumerable<int> ids, bool skipSpecialTokens = true)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var decoder = new StreamingDecoder(this, skipSpecialTokens);
        var text = new StringBuilder();
        foreach (int id in ids) text.Append(decoder.Add(id));
        return text.Append(decoder.Finish()).ToString();
    }

    /// <summary>The ids of UTF-8 text whose special tokens are recognised.</summary>
    private protected virtual void EncodeWithSpecialTokens(ReadOnlySpan<byte> utf8, List<int> ids) => Encode(utf8, ids);

    /// <summary>Bytes of a beginning whose ids do not depend on what follows; 0 when there is none.</summary>
    internal virtual int StablePrefix(ReadOnlySpan<byte> utf8) => WordSplitter.StablePrefix(utf8);
}
