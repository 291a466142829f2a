namespace Varlen.Data;

/// <summary>What a packing policy does with the sequences of an epoch, beside padding the same batches.</summary>
/// <param name="Policy">The policy.</param>
/// <param name="Batches">Number of batches.</param>
/// <param name="Sequences">Number of sequences; above that of the plan when some were cut.</param>
/// <param name="Tokens">Tokens of all batches.</param>
/// <param name="Fill">Share of the token budgets that is used.</param>
/// <param name="ToLongest">What rows as long as their batch's longest sequence would cost.</param>
/// <param name="ToMaximum">What rows as long as the context would cost.</param>
public sealed record PackingReport(PackingPolicy Policy, int Batches, long Sequences, long Tokens, double Fill, PaddingCost ToLongest, PaddingCost ToMaximum)
{
    /// <summary>Packs the training sequences of a plan, first epoch, and measures the result.</summary>
    /// <param name="plan">The sequences.</param>
    /// <param name="batchTokens">Most tokens of a batch.</param>
    /// <param name="policy">How to group them.</param>
    /// <exception cref="ArgumentException">The context is above the budget.</exception>
    public static PackingReport Create(SequencePlan plan, int batchTokens, PackingPolicy policy)
    {
        ArgumentNullException.ThrowIfNull(plan);
        PackedEpoch epoch = PackedEpoch.Create(plan.Training.Span, batchTokens, policy, plan.Seed, 0);
        long sequences = 0, tokens = 0;
        double scores = 0, longestTokens = 0, longestScores = 0;
        for (int batch = 0; batch < epoch.Count; batch++)
        {
            double longest = 0;
            foreach (SequenceChunk chunk in epoch[batch])
            {
                tokens += chunk.Length;
                scores += (double)chunk.Length * chunk.Length;
                longest = Math.Max(longest, chunk.Length);
            }
            int count = epoch[batch].Length;
            sequences += count;
            longestTokens += count * longest;
            longestScores += count * longest * longest;
        }
        if (tokens == 0) return new(policy, 0, 0, 0, 0, new(1, 1), new(1, 1));
        double maximum = sequences * (double)plan.Context;
        return new(policy, epoch.Count, sequences, tokens, (double)tokens / ((double)epoch.Count * batchTokens),
            new(longestTokens / tokens, longestScores / scores), new(maximum / tokens, maximum * plan.Context / scores));
    }
}

/// <summary>How many times the work of packed batches padded ones are.</summary>
/// <param name="Tokens">Of all work that is done for each token.</param>
/// <param name="Scores">Of attention scores, which are done for each pair of tokens of a row.</param>
public readonly record struct PaddingCost(double Tokens, double Scores);
