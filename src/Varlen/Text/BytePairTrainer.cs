namespace Varlen.Text;

/// <summary>
/// Learns the merges of a <see cref="BytePairTokenizer"/>: the most frequent pair of neighbours becomes a token, again and again. Of pairs
/// that are equally frequent the one with the lower left id is first, then the one with the lower right id, so equal texts give equal
/// tokenizers, whatever the order of the documents.
/// </summary>
/// <remarks>Ids 0 to 255 are the bytes, 256 ends a document, learned tokens follow. Words longer than 256 bytes are learned from in pieces.</remarks>
public sealed class BytePairTrainer
{
    private const int LongestPiece = 256;
    private readonly Dictionary<byte[], long> _words = new(new BytesComparer());
    private readonly Dictionary<byte[], long>.AlternateLookup<ReadOnlySpan<byte>> _bySpan;

    /// <summary>A trainer that has seen nothing.</summary>
    public BytePairTrainer() => _bySpan = _words.GetAlternateLookup<ReadOnlySpan<byte>>();

    /// <summary>Counts the words of a text.</summary>
    /// <param name="utf8">A whole document, or a part that ends between words.</param>
    public void Add(ReadOnlySpan<byte> utf8)
    {
        while (!utf8.IsEmpty)
        {
            int length = Gpt2Splitter.Plain.Next(utf8);
            for (int at = 0; at < length; at += LongestPiece)
            {
                ReadOnlySpan<byte> piece = utf8[at..Math.Min(length, at + LongestPiece)];
                _bySpan[piece] = _bySpan.TryGetValue(piece, out long count) ? count + 1 : 1;
            }
            utf8 = utf8[length..];
        }
    }

    /// <summary>Learns from what was counted.</summary>
    /// <param name="vocabularySize">Number of ids, at least 257. Less are made when no pair of neighbours is left that occurs twice.</param>
    /// <exception cref="ArgumentOutOfRangeException">The size is out of range.</exception>
    public BytePairTokenizer Train(int vocabularySize)
    {
        RequireSize(vocabularySize);
        return new(new BytePairLearning(_words).Learn(vocabularySize));
    }

    /// <summary>Learns from documents.</summary>
    /// <param name="documents">UTF-8 texts; each is read once.</param>
    /// <param name="vocabularySize">Number of ids, at least 257.</param>
    /// <exception cref="ArgumentOutOfRangeException">The size is out of range.</exception>
    public static BytePairTokenizer Train(IEnumerable<ReadOnlyMemory<byte>> documents, int vocabularySize)
    {
        ArgumentNullException.ThrowIfNull(documents);
        RequireSize(vocabularySize);
        var trainer = new BytePairTrainer();
        foreach (ReadOnlyMemory<byte> document in documents) trainer.Add(document.Span);
        return trainer.Train(vocabularySize);
    }

    private static void RequireSize(int vocabularySize)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(vocabularySize, 257);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(vocabularySize, 1 << 20);
    }
}
