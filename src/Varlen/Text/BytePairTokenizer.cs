using System.Text;

namespace Varlen.Text;

/// <summary>
/// Byte-level byte-pair encoding, as GPT-2's, Llama-3's and Qwen's: text is split into words, and the bytes of a word are merged in pairs by
/// rank. Any bytes survive the round trip, but for what the tokenizer's own normalisation changes. Added tokens that are not special are
/// recognised in every text. Made by <see cref="BytePairTrainer"/> or <see cref="Tokenizer.Load"/>.
/// </summary>
/// <remarks>Source: R. Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units" (2016), on bytes as in GPT-2.</remarks>
public sealed class BytePairTokenizer : Tokenizer
{
    private readonly BytePairModel _model;
    private readonly BytePairMerges _merges;
    private readonly Lazy<string> _fingerprint;
    private readonly Dictionary<string, int> _special = new(StringComparer.Ordinal);
    // Added tokens are searched for twice, as written and in normalised text.
    private readonly AddedTokenSearch? _written, _normalized;
    private readonly AddedTokenCuts? _cuts;

    internal BytePairTokenizer(BytePairModel model)
    {
        _model = model;
        _merges = new(model.ByteIds(), model.Merges, model.IgnoresMerges ? model : null);
        _fingerprint = new(() => TokenizerWriter.Fingerprint(model));
        foreach (AddedToken token in model.Added.Values)
            if (token.IsSpecial) _special.TryAdd(token.Content, token.Id);
        AddedToken[] written = [.. model.Added.Values.Where(token => !token.IsNormalized)], normalized = [.. model.Added.Values.Where(token => token.IsNormalized)];
        if (written.Length > 0) _written = new(written, text => text);
        if (normalized.Length > 0) _normalized = new(normalized, text => model.Composes ? Normalization.Compose(text) : text);
        _cuts = AddedTokenCuts.For(model.Added.Values);
    }

    /// <inheritdoc/>
    public override int VocabularySize => _model.Tokens.Length;

    /// <inheritdoc/>
    public override int EndOfText => _model.EndOfText;

    /// <inheritdoc/>
    public override string Fingerprint => _fingerprint.Value;

    /// <inheritdoc/>
    public override ReadOnlySpan<int> PrefixTokens => _model.Prefix;

    /// <inheritdoc/>
    public override ReadOnlySpan<int> SuffixTokens => _model.Suffix;

    /// <summary>Number of merges.</summary>
    public int MergeCount => _model.Merges.Length;

    internal BytePairModel Model => _model;

    internal ReadOnlySpan<BytePairMerge> Merges => _model.Merges;

    /// <inheritdoc/>
    public override void Encode(ReadOnlySpan<byte> utf8, List<int> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        EncodeText(utf8, ids, special: false);
    }

    /// <inheritdoc/>
    public override ReadOnlySpan<byte> Bytes(int id)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(id);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(id, VocabularySize);
        return _model.Tokens[id];
    }

    /// <inheritdoc/>
    public override string? SpecialToken(int id) => _model.Added.TryGetValue(id, out AddedToken? token) && token.IsSpecial ? token.Content : null;

    /// <inheritdoc/>
    public override bool TryGetSpecialToken(string name, out int id)
    {
        bool found = _special.TryGetValue(name, out id);
        if (!found) id = -1;
        return found;
    }

    /// <inheritdoc/>
    public override void Save(string path) => TokenizerWriter.Save(path, _model);

    private protected override void EncodeWithSpecialTokens(ReadOnlySpan<byte> utf8, List<int> ids) => EncodeText(utf8, ids, special: true);

    internal override int StablePrefix(ReadOnlySpan<byte> utf8)
    {
        for (int length = utf8.Length; ;)
        {
            int cut = WordSplitter.StablePrefix(utf8[..length]);
            if (cut == 0 || Stands(utf8, cut)) return cut;
            length = cut;
        }
    }

    // A cut must be one in the normalised text as well, and a text that goes on must not get a space.
    private bool Stands(ReadOnlySpan<byte> utf8, int cut) => (_cuts is null || _cuts.Stands(utf8, cut))
        && (utf8[cut] == ' ' || (_model.PrefixSpace == PrefixSpace.Never && !(_model.Composes && Normalization.LastCanChange(utf8[..cut]))));

    private void EncodeText(ReadOnlySpan<byte> text, List<int> ids, bool special)
    {
        int done = 0, at = 0;
        while (_written?.Next(text, special, ref at, done, out int start, out int end) is { } token)
        {
            if (done < start) EncodePlain(text[done..start], ids, special);
            ids.Add(token.Id);
            done = end;
        }
        if (done < text.Length) EncodePlain(text[done..], ids, special);
    }

    private void EncodePlain(ReadOnlySpan<byte> text, List<int> ids, bool special)
    {
        if (_model.Composes && !Normalization.IsComposed(text)) text = Normalization.Compose(text);
        int done = 0, at = 0;
        while (_normalized?.Next(text, special, ref at, done, out int start, out int end) is { } token)
        {
            if (done < start) EncodeWords(text[done..start], ids);
            ids.Add(token.Id);
            done = end;
        }
        if (done < text.Length) EncodeWords(text[done..], ids);
    }

    private void EncodeWords(ReadOnlySpan<byte> text, List<int> ids)
    {
        if (_model.PrefixSpace == PrefixSpace.Texts && text[0] != ' ') text = (byte[])[(byte)' ', .. text];
        while (!text.IsEmpty)
        {
            int length = _model.Splitter.Next(text);
            ReadOnlySpan<byte> word = text[..length];
            if (_model.PrefixSpace == PrefixSpace.Words && word[0] != ' ') word = (byte[])[(byte)' ', .. word];
            _merges.Encode(word, ids);
            text = text[length..];
        }
    }
}
