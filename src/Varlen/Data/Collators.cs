namespace Varlen.Data;

/// <summary>Turns sequences into the batch of one step: the choice of a strategy, as a value.</summary>
public interface ICollator
{
    /// <summary>Makes a batch, which the caller disposes.</summary>
    /// <param name="sequences">Token ids and targets of equal length.</param>
    /// <param name="device">Device; the CPU when null.</param>
    /// <exception cref="ArgumentException">The sequences do not fit; the message names the first that does not.</exception>
    TokenBatch Collate(IReadOnlyList<TokenSequence> sequences, Device? device = null);
}

/// <summary>Pads every sequence to one length, whatever is in the batch.</summary>
/// <param name="Length">The length, at least that of every sequence.</param>
public sealed record PadToMaximumCollator(int Length) : ICollator
{
    /// <inheritdoc/>
    public TokenBatch Collate(IReadOnlyList<TokenSequence> sequences, Device? device = null) => PaddedBatch.Create(sequences, Length, device);
}

/// <summary>Pads every sequence to the longest of its batch.</summary>
public sealed record PadToLongestCollator : ICollator
{
    /// <inheritdoc/>
    public TokenBatch Collate(IReadOnlyList<TokenSequence> sequences, Device? device = null) => PaddedBatch.Create(sequences, null, device);
}

/// <summary>
/// Pads every sequence and takes the padding out around attention alone: the way of <c>attn_implementation="flash_attention_2"</c> with an
/// attention mask.
/// </summary>
/// <param name="Length">What each is padded to; the longest of its batch when null.</param>
public sealed record PadAndUnpadCollator(int? Length = null) : ICollator
{
    /// <inheritdoc/>
    public TokenBatch Collate(IReadOnlyList<TokenSequence> sequences, Device? device = null) => PaddedBatch.CreateUnpadded(sequences, Length, device);
}

/// <summary>Makes the sequences items of a nested (jagged) tensor.</summary>
public sealed record NestedCollator : ICollator
{
    /// <inheritdoc/>
    public TokenBatch Collate(IReadOnlyList<TokenSequence> sequences, Device? device = null) => JaggedBatch.Create(sequences, device);
}

/// <summary>Concatenates the sequences and hands on their offsets (<c>cu_seqlens</c>) for variable-length attention.</summary>
public sealed record ConcatCollator : ICollator
{
    /// <inheritdoc/>
    public TokenBatch Collate(IReadOnlyList<TokenSequence> sequences, Device? device = null) => PackedBatch.Create(sequences, device);
}

/// <summary>Concatenates the sequences and makes a block-diagonal mask object for memory-efficient attention.</summary>
public sealed record BlockDiagonalCollator : ICollator
{
    /// <inheritdoc/>
    public TokenBatch Collate(IReadOnlyList<TokenSequence> sequences, Device? device = null) => BlockDiagonalBatch.Create(sequences, device);
}

/// <summary>Concatenates the sequences and makes a dense document mask: the square-cost starting point.</summary>
public sealed record DocumentMaskCollator : ICollator
{
    /// <inheritdoc/>
    public TokenBatch Collate(IReadOnlyList<TokenSequence> sequences, Device? device = null) => DocumentMaskBatch.Create(sequences, device);
}

/// <summary>Concatenates the sequences and their position ids, from whose restarts the sequences are found again. Empty ones leave no trace.</summary>
public sealed record FlattenCollator : ICollator
{
    /// <inheritdoc/>
    public TokenBatch Collate(IReadOnlyList<TokenSequence> sequences, Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(sequences);
        List<int> tokens = [], targets = [];
        List<long> positions = [];
        foreach (TokenSequence sequence in sequences)
        {
            tokens.AddRange(sequence.Tokens.Span);
            targets.AddRange(sequence.Targets.Span);
            if (tokens.Count != targets.Count) throw new ArgumentException($"sequence {positions.Count} has {sequence.Tokens.Length} tokens and {sequence.Targets.Length} targets; give each token one target", nameof(sequences));
            for (int i = 0; i < sequence.Tokens.Length; i++) positions.Add(i);
        }
        using SequenceLayout found = SequenceLayout.FromPositionIds([.. positions], 1, positions.Count);
        (int[] ids, int[] next) = ([.. tokens], [.. targets]);
        var pieces = new TokenSequence[found.Count];
        for (int i = 0; i < pieces.Length; i++)
        {
            (int start, int length) = found[i];
            pieces[i] = new TokenSequence(ids.AsMemory(start, length), next.AsMemory(start, length));
        }
        return PackedBatch.Create(pieces, device);
    }
}
