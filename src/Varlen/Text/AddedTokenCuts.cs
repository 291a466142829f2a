using System.Text;

namespace Varlen.Text;

/// <summary>Tells where a text may be cut without cutting added tokens, or what they swallow.</summary>
/// <remarks>Only tokens with white space or a symbol behind their first character matter, and those that swallow what follows them.</remarks>
internal sealed class AddedTokenCuts
{
    private readonly byte[][] _tokens;
    private readonly int _longest;

    private AddedTokenCuts(byte[][] tokens) => (_tokens, _longest) = (tokens, tokens.Max(token => token.Length));

    public static AddedTokenCuts? For(IEnumerable<AddedToken> added)
    {
        // Special tokens are not recognised where texts are cut.
        byte[][] tokens = [.. added.Where(token => !token.IsSpecial).Where(token => token.TakesRight || token.SingleWord || CanBeCut(token.Content)).Select(token => Encoding.UTF8.GetBytes(token.Content))];
        return tokens.Length == 0 ? null : new(tokens);
    }

    /// <summary>Whether no such token reaches across a place or touches it.</summary>
    public bool Stands(ReadOnlySpan<byte> text, int cut)
    {
        // What may be there can be told only once it has been seen whole.
        if (cut + _longest > text.Length) return false;
        ReadOnlySpan<byte> around = text[Math.Max(0, cut - _longest)..(cut + _longest)];
        foreach (byte[] token in _tokens)
            if (around.IndexOf(token) >= 0) return false;
        return true;
    }

    private static bool CanBeCut(string content)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(content);
        return WordSplitter.StablePrefix(bytes) > 0;
    }
}
