using System.Buffers;
using System.Globalization;
using System.Text;

namespace Varlen.Text;

/// <summary>
/// GPT-2's split of text into words that no token crosses:
/// <c>'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+</c>, by hand over Unicode categories, so that no text makes
/// it slow. A byte that is no UTF-8 counts as a symbol.
/// </summary>
internal static class WordSplitter
{
    private enum Kind : byte { Symbol, Letter, Number, Space }

    private static readonly Kind[] Ascii = [.. Enumerable.Range(0, 128).Select(value => KindOf(new Rune(value)))];

    /// <summary>Bytes of the first word of a text that is not empty.</summary>
    public static int Next(ReadOnlySpan<byte> text)
    {
        if (text[0] == '\'' && Contraction(text) is > 0 and int contraction) return contraction;
        int end = text[0] == ' ' && text.Length > 1 ? 1 : 0;
        Kind kind = KindAt(text, end, out int width);
        if (kind == Kind.Space) return Spaces(text);
        do end += width;
        while (end < text.Length && KindAt(text, end, out width) == kind);
        return end;
    }

    /// <summary>Bytes of the longest beginning that splits the same whatever follows: up to the last white space behind something else.</summary>
    public static int StablePrefix(ReadOnlySpan<byte> text)
    {
        for (int at = text.Length - 1; at > 0; at--)
            if (text[at] is (byte)' ' or (>= 9 and <= 13) && !EndsInSpace(text[..at])) return at;
        return 0;
    }

    private static bool EndsInSpace(ReadOnlySpan<byte> text) => Rune.DecodeLastFromUtf8(text, out Rune last, out _) == OperationStatus.Done && Rune.IsWhiteSpace(last);

    private static int Contraction(ReadOnlySpan<byte> text) => text.Length < 2 ? 0 : text[1] switch
    {
        (byte)'s' or (byte)'t' or (byte)'m' or (byte)'d' => 2,
        (byte)'r' or (byte)'v' when text.Length > 2 && text[2] == 'e' => 3,
        (byte)'l' when text.Length > 2 && text[2] == 'l' => 3,
        _ => 0,
    };

    // The last space goes with the word that follows, when there is one.
    private static int Spaces(ReadOnlySpan<byte> text)
    {
        int end = 0, last = 0;
        while (end < text.Length && KindAt(text, end, out int width) == Kind.Space)
        {
            end += width;
            last = width;
        }
        return end == text.Length || end == last ? end : end - last;
    }

    private static Kind KindAt(ReadOnlySpan<byte> text, int at, out int width)
    {
        if (text[at] < 128)
        {
            width = 1;
            return Ascii[text[at]];
        }
        return Rune.DecodeFromUtf8(text[at..], out Rune rune, out width) == OperationStatus.Done ? KindOf(rune) : Kind.Symbol;
    }

    private static Kind KindOf(Rune rune) => Rune.IsWhiteSpace(rune) ? Kind.Space : Rune.GetUnicodeCategory(rune) switch
    {
        UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter => Kind.Letter,
        UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => Kind.Number,
        _ => Kind.Symbol,
    };
}
