namespace Varlen.Text;

/// <summary>
/// Byte-level byte-pair encoding, as GPT-2's: text is split into words, and the bytes of a word are merged in pairs by rank. Any bytes
/// survive the round trip. Made by <see cref="BytePairTrainer"/> or <see cref="Tokenizer.Load"/>.
/// </summary>
/// <remarks>Source: R. Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units" (2016), on bytes as in GPT-2.</remarks>
public sealed class BytePairTokenizer : Tokenizer
{
    private readonly BytePairModel _model;
    private readonly BytePairMerges _merges;
    private readonly Lazy<string> _fingerprint;

    internal BytePairTokenizer(BytePairModel model)
    {
        _model = model;
        _merges = new(model.ByteIds(), model.Merges);
        _fingerprint = new(() => TokenizerWriter.Fingerprint(model));
    }

    /// <inheritdoc/>
    public override int VocabularySize => _model.Tokens.Length;

    /// <inheritdoc/>
    public override int EndOfText => _model.EndOfText;

    /// <inheritdoc/>
    public override string Fingerprint => _fingerprint.Value;

    /// <summary>Number of merges.</summary>
    public int MergeCount => _model.Merges.Length;

    internal ReadOnlySpan<BytePairMerge> Merges => _model.Merges;

    /// <inheritdoc/>
    public override void Encode(ReadOnlySpan<byte> utf8, List<int> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        while (!utf8.IsEmpty)
        {
            int length = WordSplitter.Next(utf8);
            _merges.Encode(utf8[..length], ids);
            utf8 = utf8[length..];
        }
    }

    /// <inheritdoc/>
    public override ReadOnlySpan<byte> Bytes(int id)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(id);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(id, VocabularySize);
        return _model.Tokens[id];
    }

    /// <inheritdoc/>
    public override void Save(string path) => TokenizerWriter.Save(path, _model);
}
