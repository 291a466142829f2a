namespace Varlen.Text;

/// <summary>How digits are kept apart before GPT-2's split: HuggingFace's pre-tokenizer <c>Digits</c>.</summary>
internal enum DigitSplit
{
    /// <summary>They are not.</summary>
    None,
    /// <summary>Numbers are words without the space before them.</summary>
    Numbers,
    /// <summary>Every digit is a word, as SmolLM's and StarCoder's.</summary>
    Each,
}

/// <summary>GPT-2's split: <c>'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+</c>.</summary>
internal sealed class Gpt2Splitter(DigitSplit digits) : WordSplitter
{
    private const CharacterKinds Symbols = CharacterKinds.Symbol | CharacterKinds.Mark | CharacterKinds.Other;
    // Where digits are kept apart, what is before them is split as a text of its own.
    private readonly CharacterKinds _endsText = digits == DigitSplit.None ? CharacterKinds.None : CharacterKinds.Number;

    public static Gpt2Splitter Plain { get; } = new(DigitSplit.None);

    public DigitSplit Digits => digits;

    public override int Next(ReadOnlySpan<byte> text)
    {
        if (Contraction(text, anyCase: false) is > 0 and int contraction) return contraction;
        int start = text[0] == ' ' && text.Length > 1 ? 1 : 0;
        CharacterKinds kind = Characters.At(text, start, out _);
        if ((kind & CharacterKinds.Space) != 0) return Spaces(text, _endsText);
        if ((kind & _endsText) != 0) return start > 0 ? 1 : Characters.Run(text, 0, kind, digits == DigitSplit.Each ? 1 : int.MaxValue);
        return Characters.Run(text, start, (kind & CharacterKinds.Letter) != 0 ? CharacterKinds.Letter : (kind & Symbols) != 0 ? Symbols : kind);
    }
}
