using Varlen.Data;

namespace Varlen.Auditing;

/// <summary>Whether a strategy's batches hold the tokens, targets and positions of the sequences that they are made of.</summary>
internal static class LabelAudit
{
    /// <summary>Checks a strategy.</summary>
    public static AuditCheck Run(AuditedStrategy strategy, IReadOnlyList<TokenSequence> documents, Device device)
    {
        var comparison = new Comparison(AuditArea.Labels, $"{strategy.Name}: each row has its token, target and position; padding has no target");
        TokenSequence[] sequences = [.. documents.Select(EquivalenceAudit.WithIgnoredTargets)];
        using TokenBatch batch = strategy.Collator.Collate(sequences, device);
        int[] tokens = batch.Tokens.ToArray<int>(), targets = batch.Targets.ToArray<int>(), positions = batch.Positions.ToArray<int>();
        if (strategy.WrongSequences(sequences, device) is { } wrong) comparison.Require(false, wrong);
        var real = new bool[batch.Rows];
        for (int i = 0; i < Math.Min(sequences.Length, batch.Layout.Count); i++)
        {
            (int first, int count) = AuditedModel.RowsOf(batch, i);
            real.AsSpan(first, count).Fill(true);
            for (int at = 0; at < Math.Min(count, sequences[i].Tokens.Length); at++)
            {
                string where = $"token {at} of document {i}";
                comparison.Require(tokens[first + at] == sequences[i].Tokens.Span[at], $"{where} is {tokens[first + at]} in the batch, and {sequences[i].Tokens.Span[at]} in the document");
                comparison.Require(targets[first + at] == sequences[i].Targets.Span[at], $"{where} has the target {targets[first + at]}, and should have {sequences[i].Targets.Span[at]}");
                comparison.Require(positions[first + at] == at, $"{where} has the position {positions[first + at]}");
            }
        }
        for (int row = 0; row < real.Length; row++)
            comparison.Require(real[row] || targets[row] == PackedBatch.IgnoreIndex, $"row {row}, which is padding, has the target {targets[row]}");
        long counted = sequences.Sum(sequence => (long)(sequence.Targets.Length - sequence.Targets.Span.Count(PackedBatch.IgnoreIndex)));
        comparison.Require(batch.TargetCount == counted, $"the loss would be divided by {batch.TargetCount} targets, and {counted} count");
        return comparison.ToCheck($"{counted} of {sequences.Sum(sequence => sequence.Tokens.Length)} targets count");
    }
}
