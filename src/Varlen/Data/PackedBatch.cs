namespace Varlen.Data;

/// <summary>
/// Sequences of one training or evaluation step, one after the other without padding: the currency between data and model.
/// </summary>
/// <remarks>Owns its tensors and its layout.</remarks>
public sealed partial class PackedBatch : IDisposable
{
    /// <summary>The target value that counts in neither loss nor denominator.</summary>
    public const int IgnoreIndex = -100;

    private PackedBatch(Tensor tokens, Tensor targets, Tensor positions, SequenceLayout layout, long targetCount)
    {
        Tokens = tokens;
        Targets = targets;
        Positions = positions;
        Layout = layout;
        TargetCount = targetCount;
    }

    /// <summary>Token ids, Int32 <c>[tokens]</c>.</summary>
    public Tensor Tokens { get; }

    /// <summary>The id that follows each token in its document, or <see cref="IgnoreIndex"/>; Int32 <c>[tokens]</c>.</summary>
    public Tensor Targets { get; }

    /// <summary>Each token's index in its sequence, Int32 <c>[tokens]</c>.</summary>
    public Tensor Positions { get; }

    /// <summary>Where the sequences lie.</summary>
    public SequenceLayout Layout { get; }

    /// <summary>Targets that count.</summary>
    public long TargetCount { get; }

    /// <summary>Packs sequences with their targets.</summary>
    /// <param name="sequences">Token ids and targets of equal length.</param>
    /// <param name="device">Device; the CPU when null.</param>
    /// <exception cref="ArgumentException">A sequence's targets differ in number from its tokens; the message names it.</exception>
    public static PackedBatch Create(IReadOnlyList<TokenSequence> sequences, Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(sequences);
        var lengths = new int[sequences.Count];
        for (int i = 0; i < lengths.Length; i++)
        {
            lengths[i] = sequences[i].Tokens.Length;
            if (sequences[i].Targets.Length != lengths[i])
                throw new ArgumentException($"sequence {i} has {lengths[i]} tokens and {sequences[i].Targets.Length} targets", nameof(sequences));
        }
        SequenceLayout layout = SequenceLayout.FromLengths(lengths, device);
        int[] tokens = new int[layout.TotalTokens], targets = new int[layout.TotalTokens];
        for (int i = 0; i < lengths.Length; i++)
        {
            sequences[i].Tokens.Span.CopyTo(tokens.AsSpan(layout.CuSeqlens[i]));
            sequences[i].Targets.Span.CopyTo(targets.AsSpan(layout.CuSeqlens[i]));
        }
        Shape shape = [tokens.Length];
        return new PackedBatch(Tensor.From(tokens, shape, device).Keep(), Tensor.From(targets, shape, device).Keep(),
            Tensor.From(layout.PositionIds, shape, device).Keep(), layout, targets.LongCount(target => target != IgnoreIndex));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Tokens.Dispose();
        Targets.Dispose();
        Positions.Dispose();
        Layout.Dispose();
    }
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
