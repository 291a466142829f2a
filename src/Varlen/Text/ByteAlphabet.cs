using System.Diagnostics.CodeAnalysis;

namespace Varlen.Text;

/// <summary>GPT-2's writing of bytes as visible characters, in which byte-level tokenizers spell their tokens.</summary>
/// <remarks>Source: <c>bytes_to_unicode</c> of https://github.com/openai/gpt-2. Printable Latin-1 stands for itself, the other 68 bytes follow from U+0100.</remarks>
internal static class ByteAlphabet
{
    private static readonly char[] Characters = MakeCharacters();
    private static readonly short[] Bytes = MakeBytes();

    public static char CharacterOf(byte value) => Characters[value];

    public static string Spell(ReadOnlySpan<byte> bytes) => string.Create(bytes.Length, bytes, (text, source) =>
    {
        for (int i = 0; i < text.Length; i++) text[i] = Characters[source[i]];
    });

    /// <summary>The bytes that a text spells; false when a character stands for none.</summary>
    public static bool TryRead(string text, [NotNullWhen(true)] out byte[]? bytes)
    {
        bytes = new byte[text.Length];
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] >= Bytes.Length || Bytes[text[i]] < 0)
            {
                bytes = null;
                return false;
            }
            bytes[i] = (byte)Bytes[text[i]];
        }
        return true;
    }

    private static char[] MakeCharacters()
    {
        var characters = new char[256];
        char next = '\u0100';
        for (int value = 0; value < 256; value++)
            characters[value] = value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF) ? (char)value : next++;
        return characters;
    }

    private static short[] MakeBytes()
    {
        var bytes = new short[256 + 68];
        Array.Fill(bytes, (short)-1);
        for (int value = 0; value < 256; value++) bytes[Characters[value]] = (short)value;
        return bytes;
    }
}
