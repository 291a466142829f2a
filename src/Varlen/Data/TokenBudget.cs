using System.Numerics;

namespace Varlen.Data;

/// <summary>How full batches are at one token budget.</summary>
/// <param name="BatchTokens">Most tokens of a batch.</param>
/// <param name="Batches">Batches of an epoch.</param>
/// <param name="Fill">Share of the budgets that is used.</param>
public readonly record struct BudgetFill(int BatchTokens, int Batches, double Fill);

/// <summary>A token budget that suits the lengths of data, and what it rests on.</summary>
/// <param name="BatchTokens">The budget.</param>
/// <param name="Why">The reason, in a sentence.</param>
/// <param name="Tried">All that were looked at, in rising order.</param>
public sealed record TokenBudget(int BatchTokens, string Why, IReadOnlyList<BudgetFill> Tried)
{
    // Beyond it a larger batch hardly saves anything; below it, padding a captured step to the budget would cost more than packing lost.
    private const double FullEnough = 0.97;
    private const int LeastBatches = 8, MostBudgets = 10, MostSequences = 100_000;
    // Matrix products of fewer rows leave a processor idle, so smaller batches are for little data.
    private const int LeastTokens = 1024;

    /// <summary>
    /// The smallest power of two, of 1024 or more unless the data is little, whose best-fit batches are at least 97 % full, or, where none is, the one whose are fullest: a smaller batch takes
    /// less memory and gives more steps in an epoch, until sequences no longer fit together well.
    /// </summary>
    /// <param name="plan">The sequences; of more than 100,000 the first are taken.</param>
    public static TokenBudget Recommend(SequencePlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ReadOnlySpan<SequenceChunk> sequences = plan.Training.Span[..Math.Min(plan.Training.Length, MostSequences)];
        var tried = new List<BudgetFill>();
        long tokens = 0;
        foreach (SequenceChunk chunk in sequences) tokens += chunk.Length;
        uint first = BitOperations.RoundUpToPowerOf2((uint)plan.Context);
        while (first < LeastTokens && tokens / (2 * first) >= LeastBatches) first *= 2;
        for (uint budget = first; tried.Count < MostBudgets && budget <= 1 << 26; budget *= 2)
        {
            // Few batches say little: the last one is hardly ever full.
            if (tried.Count > 0 && tokens / budget < LeastBatches) break;
            PackedEpoch epoch = PackedEpoch.Create(sequences, (int)budget, PackingPolicy.BestFit, plan.Seed, 0);
            tried.Add(new((int)budget, epoch.Count, (double)tokens / ((double)epoch.Count * budget)));
        }
        int at = tried.FindIndex(one => one.Fill >= FullEnough);
        bool enough = at >= 0;
        if (!enough) at = tried.IndexOf(tried.MaxBy(one => one.Fill));
        BudgetFill best = tried[at];
        string why = FormattableString.Invariant($"best-fit batches of {best.BatchTokens} tokens are {best.Fill * 100:F1} % full, {best.Batches} in an epoch");
        if (at > 0) why += FormattableString.Invariant($"; of {tried[at - 1].BatchTokens} they are {tried[at - 1].Fill * 100:F1} %");
        if (at + 1 < tried.Count) why += FormattableString.Invariant($"; {tried[at + 1].BatchTokens} would give {tried[at + 1].Fill * 100:F1} % for twice the memory and half the steps");
        else if (!enough) why += "; the data is too little for larger ones";
        return new(best.BatchTokens, why, tried);
    }
}
