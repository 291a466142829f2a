using System.Text;

namespace Varlen.Text;

/// <summary>One id per byte, and one that ends a document. Needs no files and loses nothing.</summary>
public static class ByteTokenizer
{
    /// <summary>Ends a document.</summary>
    public const int EndOfText = 256;

    /// <summary>256 bytes and the end of text.</summary>
    public const int VocabularySize = 257;

    /// <summary>The text of ids; bytes that are no UTF-8 become U+FFFD, the end of text nothing.</summary>
    public static string Decode(IEnumerable<int> ids) => Encoding.UTF8.GetString([.. ids.Where(id => id < EndOfText).Select(id => (byte)id)]);

    /// <summary>The ids of a text's UTF-8 bytes.</summary>
    public static int[] Encode(string text) => [.. Encoding.UTF8.GetBytes(text).Select(b => (int)b)];
}
