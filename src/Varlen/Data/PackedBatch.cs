using F = Varlen.Nn.Functional;

namespace Varlen.Data;

/// <summary>Sequences one after the other without padding, each attending to itself: the native form, and the fastest.</summary>
public sealed partial class PackedBatch : TokenBatch
{
    /// <summary>The target value that counts in neither loss nor denominator.</summary>
    public const int IgnoreIndex = -100;

    private PackedBatch(IReadOnlyList<TokenSequence> sequences, SequenceLayout layout, Device? device)
        : base(sequences, layout, null, new PackedAttention(layout), device)
    {
    }

    /// <summary>Packs sequences with their targets.</summary>
    /// <param name="sequences">Token ids and targets of equal length.</param>
    /// <param name="device">Device; the CPU when null.</param>
    /// <exception cref="ArgumentException">A sequence's targets differ in number from its tokens, or an id is negative; the message names it.</exception>
    public static PackedBatch Create(IReadOnlyList<TokenSequence> sequences, Device? device = null)
        => new(sequences, LayoutOf(sequences), device);
}

/// <summary>Variable-length attention within each sequence of packed rows.</summary>
/// <param name="layout">Where the sequences lie; not owned.</param>
public sealed class PackedAttention(SequenceLayout layout) : AttentionStrategy
{
    internal override (SequenceLayout, SequenceLayout, SequenceLayout)? Layouts => (layout, layout, layout);

    /// <inheritdoc/>
    public override Tensor Attend(Tensor query, Tensor key, Tensor value, AttentionLayer layer)
        => F.VarlenAttention(query, key, value, layout, layout, Options(layer));
}

/// <summary>A run of tokens of one document and what follows each of them.</summary>
/// <param name="Tokens">Ids.</param>
/// <param name="Targets">The next id of the same document, or <see cref="PackedBatch.IgnoreIndex"/>.</param>
public readonly record struct TokenSequence(ReadOnlyMemory<int> Tokens, ReadOnlyMemory<int> Targets)
{
    /// <summary>
    /// A document, its end-of-text token included, as sequences of at most <paramref name="context"/> tokens: chunk [a, b) has the targets
    /// [a + 1, b + 1), so every token but the first is predicted exactly once and no target leaves the document.
    /// </summary>
    public static IEnumerable<TokenSequence> Cut(ReadOnlyMemory<int> document, int context)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(context, 1);
        for (int start = 0; start < document.Length - 1; start += context)
        {
            int length = Math.Min(context, document.Length - 1 - start);
            yield return new TokenSequence(document.Slice(start, length), document.Slice(start + 1, length));
        }
    }
}
