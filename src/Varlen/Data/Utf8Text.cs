using System.Buffers;
using System.Text;

namespace Varlen.Data;

/// <summary>UTF-8 that arrives in blocks.</summary>
internal static class Utf8Text
{
    /// <summary>Bytes up to the last whole character: less than all when the rest of one is still to come.</summary>
    public static int Complete(ReadOnlySpan<byte> text)
    {
        for (int back = 1; back <= Math.Min(3, text.Length); back++)
        {
            byte value = text[^back];
            if (value < 0x80) break;
            if (value >= 0xC0) return Rune.DecodeFromUtf8(text[^back..], out _, out _) == OperationStatus.NeedMoreData ? text.Length - back : text.Length;
        }
        return text.Length;
    }

    /// <summary>Index of the first byte that is no UTF-8, in a text that is not valid.</summary>
    public static int FirstInvalid(ReadOnlySpan<byte> text)
    {
        int at = 0;
        while (Rune.DecodeFromUtf8(text[at..], out _, out int width) == OperationStatus.Done) at += width;
        return at;
    }
}
