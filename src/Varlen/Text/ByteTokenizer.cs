namespace Varlen.Text;

/// <summary>One id per byte, and one that ends a document. Needs no training and loses nothing.</summary>
public sealed class ByteTokenizer : Tokenizer
{
    private static readonly byte[] Values = [.. Enumerable.Range(0, 256).Select(value => (byte)value)];
    private static readonly Lazy<string> Hash = new(() => TokenizerWriter.Fingerprint(BytePairModel.Bytes));

    /// <inheritdoc/>
    public override int VocabularySize => 257;

    /// <inheritdoc/>
    public override int EndOfText => 256;

    /// <inheritdoc/>
    public override string Fingerprint => Hash.Value;

    /// <inheritdoc/>
    public override void Encode(ReadOnlySpan<byte> utf8, List<int> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        ids.EnsureCapacity(ids.Count + utf8.Length);
        foreach (byte value in utf8) ids.Add(value);
    }

    /// <inheritdoc/>
    public override ReadOnlySpan<byte> Bytes(int id)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(id);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(id, VocabularySize);
        return id == EndOfText ? [] : Values.AsSpan(id, 1);
    }

    /// <inheritdoc/>
    public override string? SpecialToken(int id) => id == EndOfText ? BytePairModel.EndOfTextName : null;

    /// <inheritdoc/>
    public override bool TryGetSpecialToken(string name, out int id)
    {
        id = name == BytePairModel.EndOfTextName ? EndOfText : -1;
        return id >= 0;
    }

    /// <inheritdoc/>
    public override void Save(string path) => TokenizerWriter.Save(path, BytePairModel.Bytes);

    private protected override void EncodeWithSpecialTokens(ReadOnlySpan<byte> utf8, List<int> ids)
    {
        ReadOnlySpan<byte> name = "<|endoftext|>"u8;
        for (int at; (at = utf8.IndexOf(name)) >= 0; utf8 = utf8[(at + name.Length)..])
        {
            Encode(utf8[..at], ids);
            ids.Add(EndOfText);
        }
        Encode(utf8, ids);
    }

    internal override int StablePrefix(ReadOnlySpan<byte> utf8) => utf8.Length;
}
