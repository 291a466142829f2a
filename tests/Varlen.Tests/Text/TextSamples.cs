using System.Text;

namespace Varlen.Tests.Text;

/// <summary>Random texts that exercise every class of character.</summary>
internal static class TextSamples
{
    private static readonly string[] Pieces =
    [
        "the ", " a", "ab", "abc", "don't", "we'll", "I'VE", "'s", "'re", "'", " '", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n ", "12", " 3", "\u00bd", "\u0663", "\u2167",
        "\u00e9", "e\u0301", " \u4e16\u754c", "\U0001f600", "\U0001f468\u200d\U0001f469", "\u00a0", "\u3000", "\u2028", "\u0085", "!", "?!", "_", "<|endoftext|>", "#", "\0", "\u200b", "\ufeff", "\u01c5", "\u02b0",
    ];

    public static string Draw(Random random, int pieces)
    {
        var text = new StringBuilder();
        for (int i = 0; i < pieces; i++) text.Append(random.Next(8) == 0 ? ((char)random.Next('a', 'z' + 1)).ToString() : Pieces[random.Next(Pieces.Length)]);
        return text.ToString();
    }

    public static byte[] DrawBytes(Random random, int length)
    {
        var bytes = new byte[length];
        random.NextBytes(bytes);
        // Half of them text, so that broken characters stand beside whole ones.
        byte[] text = Encoding.UTF8.GetBytes(Draw(random, length / 4));
        text.AsSpan(0, Math.Min(text.Length, length / 2)).CopyTo(bytes.AsSpan(random.Next(length / 2 + 1)));
        return bytes;
    }
}
