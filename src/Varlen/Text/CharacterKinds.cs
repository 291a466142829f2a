using System.Buffers;
using System.Globalization;
using System.Text;

namespace Varlen.Text;

/// <summary>What the split of text into words knows about a character: groups of Unicode's general categories.</summary>
[Flags]
internal enum CharacterKinds : ushort
{
    None = 0,
    Space = 1,
    /// <summary>Carriage return and line feed, which are spaces too.</summary>
    Newline = 2,
    Number = 4,
    Mark = 8,
    /// <summary>Upper and title case.</summary>
    Upper = 16,
    Lower = 32,
    /// <summary>Modifiers, and letters of scripts without case.</summary>
    Caseless = 64,
    Symbol = 128,
    /// <summary>Controls, and what is formatting, private or unassigned.</summary>
    Other = 256,
    Letter = Upper | Lower | Caseless,
}

/// <summary>Kinds of the characters of UTF-8 text.</summary>
internal static class Characters
{
    private static readonly CharacterKinds[] Plane = [.. Enumerable.Range(0, 0x10000).Select(value => Rune.IsValid(value) ? Classify(new(value)) : CharacterKinds.Symbol)];

    /// <summary>The kind of the character at a byte, and its length. A byte that is no UTF-8 counts as the symbol that would replace it.</summary>
    public static CharacterKinds At(ReadOnlySpan<byte> text, int at, out int width)
    {
        if (text[at] < 128)
        {
            width = 1;
            return Plane[text[at]];
        }
        return Rune.DecodeFromUtf8(text[at..], out Rune rune, out width) == OperationStatus.Done ? Of(rune) : CharacterKinds.Symbol;
    }

    /// <summary>The kind of the last character; none when there is no text, or no UTF-8.</summary>
    public static CharacterKinds Last(ReadOnlySpan<byte> text, out int width)
        => Rune.DecodeLastFromUtf8(text, out Rune rune, out width) == OperationStatus.Done ? Of(rune) : CharacterKinds.None;

    public static CharacterKinds Of(Rune rune) => rune.IsBmp ? Plane[rune.Value] : Classify(rune);

    /// <summary>Where the characters of these kinds end that begin at a byte, after at most so many.</summary>
    public static int Run(ReadOnlySpan<byte> text, int at, CharacterKinds kinds, int most = int.MaxValue)
    {
        for (; at < text.Length && most > 0 && (At(text, at, out int width) & kinds) != 0; most--) at += width;
        return at;
    }

    private static CharacterKinds Classify(Rune rune)
    {
        if (rune.Value is '\r' or '\n') return CharacterKinds.Newline | CharacterKinds.Space;
        if (Rune.IsWhiteSpace(rune)) return CharacterKinds.Space;
        return Rune.GetUnicodeCategory(rune) switch
        {
            UnicodeCategory.UppercaseLetter or UnicodeCategory.TitlecaseLetter => CharacterKinds.Upper,
            UnicodeCategory.LowercaseLetter => CharacterKinds.Lower,
            UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter => CharacterKinds.Caseless,
            UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => CharacterKinds.Number,
            UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark => CharacterKinds.Mark,
            UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.Surrogate or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned => CharacterKinds.Other,
            _ => CharacterKinds.Symbol,
        };
    }
}
