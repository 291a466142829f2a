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
    public override void Save(string path) => TokenizerWriter.Save(path, BytePairModel.Bytes);

    internal override int StablePrefix(ReadOnlySpan<byte> utf8) => utf8.Length;
}
