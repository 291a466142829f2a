namespace Varlen.Data;

/// <summary>How padded batches are formed from the sequences of an epoch, in shuffled order unless they are sorted.</summary>
public enum PaddedGrouping
{
    /// <summary>Rows as long as the context.</summary>
    ToMaximum,
    /// <summary>Rows as long as the longest sequence of their batch.</summary>
    ToLongest,
    /// <summary>As <see cref="ToLongest"/>, of sequences sorted by length, so that a batch holds nearly equal ones.</summary>
    Sorted,
}

/// <summary>What a model computes in an epoch under one way to make batches of at most a number of tokens, padding counted.</summary>
/// <param name="Batches">Number of batches.</param>
/// <param name="Sequences">Number of sequences; above that of the plan when some were cut.</param>
/// <param name="RealTokens">Tokens that are no padding.</param>
/// <param name="Tokens">Tokens that are computed.</param>
/// <param name="Scores">Attention scores that are computed under a causal mask: each token with itself and those before it in its row.</param>
/// <param name="Fill">Share of the token budgets that real tokens use.</param>
public sealed record BatchingCost(int Batches, long Sequences, long RealTokens, long Tokens, double Scores, double Fill)
{
    /// <summary>Packs the training sequences of a plan, first epoch.</summary>
    /// <param name="plan">The sequences.</param>
    /// <param name="batchTokens">Most tokens of a batch.</param>
    /// <param name="policy">How to group them.</param>
    /// <exception cref="ArgumentException">The context is above the budget.</exception>
    public static BatchingCost Packed(SequencePlan plan, int batchTokens, PackingPolicy policy)
    {
        ArgumentNullException.ThrowIfNull(plan);
        PackedEpoch epoch = PackedEpoch.Create(plan.Training.Span, batchTokens, policy, plan.Seed, 0);
        long sequences = 0, tokens = 0;
        double scores = 0;
        for (int batch = 0; batch < epoch.Count; batch++)
            foreach (SequenceChunk chunk in epoch[batch])
                (sequences, tokens, scores) = (sequences + 1, tokens + chunk.Length, scores + CausalScores(chunk.Length));
        return new(epoch.Count, sequences, tokens, tokens, scores, Share(tokens, epoch.Count, batchTokens));
    }

    /// <summary>Pads the training sequences of a plan: as many rows in a batch as its tokens, padding included, allow.</summary>
    /// <param name="plan">The sequences.</param>
    /// <param name="batchTokens">Most tokens of a batch.</param>
    /// <param name="grouping">What rows are padded to.</param>
    /// <exception cref="ArgumentException">The context is above the budget.</exception>
    public static BatchingCost Padded(SequencePlan plan, int batchTokens, PaddedGrouping grouping)
    {
        ArgumentNullException.ThrowIfNull(plan);
        if (batchTokens < plan.Context) throw new ArgumentException($"a batch of {batchTokens} tokens cannot hold a sequence of {plan.Context}; raise the budget or lower the context", nameof(batchTokens));
        int[] lengths = new int[plan.Training.Length];
        for (int i = 0; i < lengths.Length; i++) lengths[i] = plan.Training.Span[i].Length;
        if (grouping == PaddedGrouping.Sorted) Array.Sort(lengths);
        else new Randomness(Randomness.Mix((ulong)(uint)plan.Seed)).Shuffle(lengths.AsSpan());
        int batches = 0;
        long real = 0, tokens = 0;
        double scores = 0;
        for (int start = 0, end; start < lengths.Length; start = end)
        {
            int row = grouping == PaddedGrouping.ToMaximum ? plan.Context : 0;
            for (end = start; end < lengths.Length; end++)
            {
                int longer = Math.Max(row, lengths[end]);
                if ((long)longer * (end + 1 - start) > batchTokens) break;
                (row, real) = (longer, real + lengths[end]);
            }
            (batches, tokens, scores) = (batches + 1, tokens + (long)row * (end - start), scores + CausalScores(row) * (end - start));
        }
        return new(batches, lengths.Length, real, tokens, scores, Share(real, batches, batchTokens));
    }

    private static double CausalScores(double length) => length * (length + 1) / 2;

    private static double Share(long tokens, int batches, int batchTokens) => batches == 0 ? 0 : (double)tokens / ((double)batches * batchTokens);
}
