namespace Varlen.Text;

/// <summary>Where a space is put before text that does not begin with one.</summary>
internal enum PrefixSpace
{
    Never,
    /// <summary>Before each text between added tokens.</summary>
    Texts,
    /// <summary>Before each word.</summary>
    Words,
}

/// <summary>What a byte-level tokenizer consists of.</summary>
/// <param name="Tokens">The bytes of each id; empty for special tokens and for ids that no token has.</param>
/// <param name="Merges">In the order of their rank.</param>
/// <param name="Added">Added tokens by id.</param>
/// <param name="EndOfText">The special token that ends a document.</param>
internal sealed record BytePairModel(byte[][] Tokens, BytePairMerge[] Merges, SortedDictionary<int, AddedToken> Added, int EndOfText)
{
    public const string EndOfTextName = "<|endoftext|>";

    /// <summary>Id b is byte b, 256 ends a document, and nothing merges.</summary>
    public static BytePairModel Bytes { get; } = new([.. Enumerable.Range(0, 256).Select(value => new[] { (byte)value }), []], [],
        new() { [256] = new(256, EndOfTextName, IsSpecial: true) { IsInVocabulary = true } }, 256);

    public WordSplitter Splitter { get; init; } = Gpt2Splitter.Plain;

    public PrefixSpace PrefixSpace { get; init; }

    /// <summary>Whether text is normalised to Unicode's form C first.</summary>
    public bool Composes { get; init; }

    /// <summary>Whether a word that is a token becomes it, even where merges lead elsewhere.</summary>
    public bool IgnoresMerges { get; init; }

    /// <summary>Special tokens before a text.</summary>
    public int[] Prefix { get; init; } = [];

    /// <summary>Special tokens behind a text.</summary>
    public int[] Suffix { get; init; } = [];

    public bool IsBytes => Merges.Length == 0 && Tokens.Length == 257 && EndOfText == 256 && Added.Count == 1 && Added[256].Content == EndOfTextName
        && !Composes && PrefixSpace == PrefixSpace.Never && Prefix.Length + Suffix.Length == 0
        && Enumerable.Range(0, 256).All(value => Tokens[value] is [byte only] && only == value);

    /// <summary>The end of text that the file has when nothing beside it names another; null when that cannot be told.</summary>
    public static int? DefaultEndOfText(SortedDictionary<int, AddedToken> added)
    {
        AddedToken[] special = [.. added.Values.Where(token => token.IsSpecial)];
        return (Array.Find(special, token => token.Content == EndOfTextName) ?? (special.Length == 1 ? special[0] : null))?.Id;
    }

    /// <summary>The id of each byte; -1 where a byte has none.</summary>
    public int[] ByteIds()
    {
        var ids = new int[256];
        Array.Fill(ids, -1);
        // An added token may be a single byte that the vocabulary has already.
        foreach (bool added in (bool[])[true, false])
            for (int id = Tokens.Length - 1; id >= 0; id--)
                if (Tokens[id] is [byte value] && Added.ContainsKey(id) == added) ids[value] = id;
        return ids;
    }
}
