namespace Varlen.Data;

/// <summary>The held-out sequences of a plan, once and in the order of the store.</summary>
public static class EvaluationBatches
{
    /// <summary>Reads them batch by batch; the caller disposes each.</summary>
    /// <param name="store">The documents.</param>
    /// <param name="plan">A plan of that store.</param>
    /// <param name="batchTokens">Most tokens of a batch; at least the plan's context.</param>
    /// <param name="device">Device of the batches; the CPU when null.</param>
    /// <exception cref="ArgumentException">The plan is of another store, or the budget is below the context.</exception>
    public static IEnumerable<PackedBatch> Read(TokenStore store, SequencePlan plan, int batchTokens, Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentNullException.ThrowIfNull(plan);
        plan.RequireStore(store, nameof(store));
        if (batchTokens < plan.Context) throw new ArgumentException($"a batch of {batchTokens} tokens cannot hold a sequence of {plan.Context}; raise the budget or lower the context", nameof(batchTokens));
        return Batches();

        IEnumerable<PackedBatch> Batches()
        {
            var assembly = new BatchAssembly();
            for (int start = 0, end; start < plan.HeldOut.Length; start = end)
            {
                int tokens = 0;
                for (end = start; end < plan.HeldOut.Length && tokens + plan.HeldOut.Span[end].Length <= batchTokens; end++) tokens += plan.HeldOut.Span[end].Length;
                assembly.Fill(store, plan.HeldOut.Span[start..end], batchTokens);
                yield return assembly.ToBatch(device);
            }
        }
    }
}
