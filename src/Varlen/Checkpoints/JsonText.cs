using System.Text;
using System.Text.Json;

namespace Varlen.Checkpoints;

/// <summary>Strings of a JSON text that nobody vouches for.</summary>
internal static class JsonText
{
    private const int LongestQuote = 64;

    /// <summary>A name for a message: quoted, cut, and escaped so that it can neither move the cursor nor forge a line.</summary>
    public static string Quote(string name)
    {
        bool cut = name.Length > LongestQuote;
        // Through bytes: a cut can leave half a surrogate pair, which becomes a replacement character here and would be refused as text.
        byte[] shown = Encoding.UTF8.GetBytes(cut ? name[..LongestQuote] : name);
        return $"'{JsonEncodedText.Encode(shown)}{(cut ? "..." : "")}'";
    }

    /// <summary>The string or property name a reader stands on, for a message, with its escapes as written.</summary>
    public static string Quote(in Utf8JsonReader reader)
    {
        ReadOnlySpan<byte> raw = reader.ValueSpan;
        return Quote(Encoding.UTF8.GetString(raw.Length > 4 * LongestQuote ? raw[..(4 * LongestQuote)] : raw));
    }

    /// <summary>Whether the escapes of a JSON string spell half a surrogate pair, which no Unicode string may hold.</summary>
    /// <param name="text">The text between the quotes, accepted by <see cref="Utf8JsonReader"/>.</param>
    public static bool HasLoneSurrogate(ReadOnlySpan<byte> text)
    {
        // Byte by byte: a text of nothing but escapes must not pay for a search at each.
        for (int i = 0; i < text.Length;)
        {
            if (text[i] != '\\') i++;
            else if (text[i + 1] != 'u') i += 2;
            else if (!IsSurrogate(text, i, 'f')) i += 6;
            // A high half, and a low one right behind it.
            else if (IsSurrogate(text, i, 'b') && text[(i + 6)..].StartsWith("\\u"u8) && IsSurrogate(text, i + 6, 'f') && !IsSurrogate(text, i + 6, 'b')) i += 12;
            else return true;
        }
        return false;
    }

    // High halves are \uD8xx to \uDBxx, low ones follow to \uDFxx. The reader has checked that four hexadecimal digits are there.
    private static bool IsSurrogate(ReadOnlySpan<byte> text, int escape, char last) =>
        (text[escape + 2] | 0x20) == 'd' && text[escape + 3] >= '8' && (text[escape + 3] <= '9' || (text[escape + 3] | 0x20) <= last);
}
