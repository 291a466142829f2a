namespace Varlen.Text;

/// <summary>
/// The split of GPT-4o (o200k) and of Mistral's Tekken, in which words also begin at capital letters:
/// <c>P?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+C?|P?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*C?|\p{N}{1,3}|
///  ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+</c>, where P is <c>[^\r\n\p{L}\p{N}]</c> and C a contraction in any case.
/// </summary>
/// <param name="digits">Most digits of a word.</param>
/// <param name="contractions">Whether a contraction goes with the word before it; else it is split as any other text.</param>
internal sealed class CaseSplitter(int digits, bool contractions) : WordSplitter
{
    private const CharacterKinds Both = CharacterKinds.Caseless | CharacterKinds.Mark, Capitals = CharacterKinds.Upper | Both, Small = CharacterKinds.Lower | Both;
    private const CharacterKinds Symbols = CharacterKinds.Symbol | CharacterKinds.Mark | CharacterKinds.Other;

    public override int Next(ReadOnlySpan<byte> text)
    {
        CharacterKinds first = Characters.At(text, 0, out int width);
        if (Word(text, first, width) is > 0 and int word) return word;
        if ((first & CharacterKinds.Number) != 0) return Characters.Run(text, width, CharacterKinds.Number, digits - 1);
        if ((first & Symbols) == 0 && (text[0] != ' ' || text.Length == 1 || (Characters.At(text, 1, out _) & Symbols) == 0)) return Lines(text);
        int end = Characters.Run(text, width, Symbols);
        while (end < text.Length && text[end] is (byte)'\r' or (byte)'\n' or (byte)'/') end++;
        return end;
    }

    // A mark may be taken for what stands before a word, or for its first character: in the expression's order.
    private int Word(ReadOnlySpan<byte> text, CharacterKinds first, int width)
    {
        bool before = (first & (CharacterKinds.Newline | CharacterKinds.Letter | CharacterKinds.Number)) == 0, within = (first & (Capitals | Small)) != 0;
        int end = before ? EndingSmall(text, width) : 0;
        if (end == 0 && within) end = EndingSmall(text, 0);
        if (end == 0 && before) end = AllCapitals(text, width);
        if (end == 0 && within) end = AllCapitals(text, 0);
        return end > 0 && contractions ? end + Contraction(text[end..], anyCase: true) : end;
    }

    // The capitals give back until one is left that can be a small letter as well.
    private static int EndingSmall(ReadOnlySpan<byte> text, int start)
    {
        int end = start, last = 0;
        while (end < text.Length && Characters.At(text, end, out int width) is var kind && (kind & Capitals) != 0)
        {
            end += width;
            if ((kind & Both) != 0) last = end;
        }
        int small = Characters.Run(text, end, Small);
        return small > end ? small : last;
    }

    private static int AllCapitals(ReadOnlySpan<byte> text, int start) => Characters.Run(text, start, Capitals) is var end && end > start ? end : 0;
}
