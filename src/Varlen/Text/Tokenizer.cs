namespace Varlen.Text;

/// <summary>Text to ids and back.</summary>
/// <remarks>Immutable and safe to use from several threads at once.</remarks>
public abstract class Tokenizer
{
    /// <summary>Number of ids; every id is below it.</summary>
    public abstract int VocabularySize { get; }

    /// <summary>The id that ends a document.</summary>
    public abstract int EndOfText { get; }

    /// <summary>The ids of UTF-8 text, appended to a list. Text that spells a special token stays text.</summary>
    public abstract void Encode(ReadOnlySpan<byte> utf8, List<int> ids);

    /// <summary>The bytes of one id; empty for special tokens.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The id is negative or not below <see cref="VocabularySize"/>.</exception>
    public abstract ReadOnlySpan<byte> Bytes(int id);

    /// <summary>Writes the tokenizer as HuggingFace's <c>tokenizer.json</c>.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public abstract void Save(string path);

    /// <summary>The ids of a text.</summary>
    public int[] Encode(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var ids = new List<int>();
        Encode(System.Text.Encoding.UTF8.GetBytes(text), ids);
        return [.. ids];
    }

    /// <summary>The text of ids, without special tokens; bytes that are no UTF-8 become U+FFFD.</summary>
    public string Decode(IEnumerable<int> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var bytes = new List<byte>();
        foreach (int id in ids) bytes.AddRange(Bytes(id));
        return System.Text.Encoding.UTF8.GetString([.. bytes]);
    }
}
