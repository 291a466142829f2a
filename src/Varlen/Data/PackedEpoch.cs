namespace Varlen.Data;

/// <summary>
/// The batches of one epoch: every sequence once, in an order that follows from seed and epoch alone. A pure function of its arguments.
/// </summary>
public sealed class PackedEpoch
{
    private readonly SequenceChunk[] _chunks;
    private readonly int[] _starts;

    internal PackedEpoch(SequenceChunk[] chunks, int[] starts) => (_chunks, _starts) = (chunks, starts);

    /// <summary>Number of batches.</summary>
    public int Count => _starts.Length - 1;

    /// <summary>The sequences of a batch.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such batch.</exception>
    public ReadOnlySpan<SequenceChunk> this[int batch]
    {
        get
        {
            if ((uint)batch >= (uint)Count) throw new ArgumentOutOfRangeException(nameof(batch), batch, $"the epoch has {Count} batches, counted from 0");
            return _chunks.AsSpan(_starts[batch].._starts[batch + 1]);
        }
    }

    /// <summary>Groups sequences into batches.</summary>
    /// <param name="sequences">The sequences of an epoch.</param>
    /// <param name="batchTokens">Most tokens of a batch; at least the longest sequence's, unless they are cut.</param>
    /// <param name="policy">How to group them.</param>
    /// <param name="seed">Seed of the order.</param>
    /// <param name="epoch">The epoch; each has an order of its own.</param>
    /// <exception cref="ArgumentException">A sequence alone is above the budget, or is empty; the message names it.</exception>
    public static PackedEpoch Create(ReadOnlySpan<SequenceChunk> sequences, int batchTokens, PackingPolicy policy, int seed, int epoch)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchTokens, 1);
        for (int i = 0; i < sequences.Length; i++)
            if (sequences[i].Length < 1 || (sequences[i].Length > batchTokens && policy != PackingPolicy.Concat))
                throw new ArgumentException($"sequence {i} has {sequences[i].Length} tokens, and a batch has 1 to {batchTokens}; lower the context or raise the batch", nameof(sequences));
        var random = new Randomness(Randomness.Mix(Randomness.Mix((ulong)(uint)seed) ^ (uint)epoch));
        SequenceChunk[] order = sequences.ToArray();
        random.Shuffle(order.AsSpan());
        return policy switch
        {
            PackingPolicy.BestFit => Packing.BestFit(order, batchTokens, random),
            PackingPolicy.FirstFit => Packing.FirstFit(order, batchTokens),
            PackingPolicy.Concat => Packing.Concat(order, batchTokens),
            _ => throw new ArgumentOutOfRangeException(nameof(policy), policy, "not a packing policy"),
        };
    }
}
