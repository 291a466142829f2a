namespace Varlen.Text;

/// <summary>What a byte-level tokenizer consists of.</summary>
/// <param name="Tokens">The bytes of each id; empty for special tokens and for ids that no token has.</param>
/// <param name="Merges">In the order of their rank.</param>
/// <param name="Special">Special tokens by id, as they are spelled.</param>
/// <param name="EndOfText">The special token that ends a document.</param>
internal sealed record BytePairModel(byte[][] Tokens, BytePairMerge[] Merges, SortedDictionary<int, string> Special, int EndOfText)
{
    public const string EndOfTextName = "<|endoftext|>";

    /// <summary>Id b is byte b, 256 ends a document, and nothing merges.</summary>
    public static BytePairModel Bytes { get; } = new([.. Enumerable.Range(0, 256).Select(value => new[] { (byte)value }), []], [], new() { [256] = EndOfTextName }, 256);

    public bool IsBytes => Merges.Length == 0 && Tokens.Length == 257 && EndOfText == 256 && Special[256] == EndOfTextName
        && Enumerable.Range(0, 256).All(value => Tokens[value] is [byte only] && only == value);

    /// <summary>The id of each byte.</summary>
    public int[] ByteIds()
    {
        var ids = new int[256];
        for (int id = Tokens.Length - 1; id >= 0; id--)
            if (Tokens[id] is [byte value]) ids[value] = id;
        return ids;
    }
}
