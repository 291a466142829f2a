namespace Varlen.Text;

/// <summary>
/// GPT-4's split, which Llama-3's and Qwen's are:
/// <c>(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+</c>.
/// </summary>
/// <param name="digits">Most digits of a word.</param>
/// <param name="marks">Whether combining marks go with letters (<c>[\p{L}\p{M}]+</c>) instead of symbols.</param>
internal sealed class Gpt4Splitter(int digits, bool marks = false) : WordSplitter
{
    private readonly CharacterKinds _letters = CharacterKinds.Letter | (marks ? CharacterKinds.Mark : CharacterKinds.None);
    private readonly CharacterKinds _symbols = CharacterKinds.Symbol | CharacterKinds.Other | (marks ? CharacterKinds.None : CharacterKinds.Mark);

    public override int Next(ReadOnlySpan<byte> text)
    {
        if (Contraction(text, anyCase: true) is > 0 and int contraction) return contraction;
        CharacterKinds first = Characters.At(text, 0, out int width);
        if ((first & _letters) != 0) return Characters.Run(text, width, _letters);
        if ((first & CharacterKinds.Number) != 0) return Characters.Run(text, width, CharacterKinds.Number, digits - 1);
        CharacterKinds second = width < text.Length ? Characters.At(text, width, out _) : CharacterKinds.None;
        if ((second & _letters) != 0 && (first & CharacterKinds.Newline) == 0) return Characters.Run(text, width, _letters);
        if ((first & _symbols) == 0 && (text[0] != ' ' || (second & _symbols) == 0)) return Lines(text);
        return Characters.Run(text, Characters.Run(text, width, _symbols), CharacterKinds.Newline);
    }
}
