namespace Varlen.Text;

/// <summary>
/// A split of text into words that no token crosses. Each is a published regular expression, written by hand over kinds of characters, so
/// that no text makes it slow; what a word is depends only on the text from its beginning on.
/// </summary>
internal abstract class WordSplitter
{
    private const CharacterKinds Wordlike = CharacterKinds.Letter | CharacterKinds.Number;

    /// <summary>Bytes of the first word of a text that is not empty.</summary>
    public abstract int Next(ReadOnlySpan<byte> text);

    /// <summary>
    /// Bytes of the longest beginning that splits the same whatever follows: up to the last white space behind something else, or, where there
    /// is none, up to the last symbol behind a letter or a number.
    /// </summary>
    public static int StablePrefix(ReadOnlySpan<byte> text)
    {
        for (int at = text.Length - 1; at > 0; at--)
            if (IsBeforeSpace(text, at)) return at;
        for (int end = text.Length; end > 0;)
        {
            CharacterKinds kind = Characters.Last(text[..end], out int width);
            end -= width;
            // An apostrophe can belong to the letters before it.
            if (kind == CharacterKinds.Symbol && text[end] != '\'' && (Characters.Last(text[..end], out _) & Wordlike) != 0) return end;
        }
        return 0;
    }

    /// <summary>Whether a byte begins white space behind something else. Line ends can belong to the symbols before them, and to nothing else.</summary>
    public static bool IsBeforeSpace(ReadOnlySpan<byte> text, int at) => text[at] switch
    {
        (byte)' ' or (byte)'\t' or 11 or 12 => (Characters.Last(text[..at], out _) & CharacterKinds.Space) == 0,
        (byte)'\r' or (byte)'\n' => (Characters.Last(text[..at], out _) & Wordlike) != 0,
        _ => false,
    };

    /// <summary><c>\s+(?!\S)|\s+</c>: the last space goes with what follows, when there is something and another space.</summary>
    protected static int Spaces(ReadOnlySpan<byte> text, CharacterKinds endsText = CharacterKinds.None)
    {
        int end = 0, last = 0;
        while (end < text.Length && (Characters.At(text, end, out int width) & CharacterKinds.Space) != 0) end += last = width;
        return end == text.Length || end == last || (Characters.At(text, end, out _) & endsText) != 0 ? end : end - last;
    }

    /// <summary><c>\s*[\r\n]+|\s+(?!\S)|\s+</c>: up to the last line end, if there is one.</summary>
    protected static int Lines(ReadOnlySpan<byte> text, CharacterKinds endsText = CharacterKinds.None)
    {
        int lines = 0;
        for (int end = 0; end < text.Length;)
        {
            CharacterKinds kind = Characters.At(text, end, out int width);
            if ((kind & CharacterKinds.Space) == 0) break;
            end += width;
            if ((kind & CharacterKinds.Newline) != 0) lines = end;
        }
        return lines > 0 ? lines : Spaces(text, endsText);
    }

    /// <summary>Bytes of <c>(?i:'s|'t|'re|'ve|'m|'ll|'d)</c> at a place, 0 when there is none. The long s (U+017F) is an s there.</summary>
    protected static int Contraction(ReadOnlySpan<byte> text, bool anyCase)
    {
        if (text.Length < 2 || text[0] != '\'') return 0;
        if (anyCase && text is [_, 0xC5, 0xBF, ..]) return 3;
        int first = anyCase ? text[1] | 0x20 : text[1], second = text.Length < 3 ? 0 : anyCase ? text[2] | 0x20 : text[2];
        return (first, second) switch
        {
            ('s' or 't' or 'm' or 'd', _) => 2,
            ('r' or 'v', 'e') or ('l', 'l') => 3,
            _ => 0,
        };
    }
}
