using Varlen.Data;

namespace Varlen.Auditing;

/// <summary>Whether every strategy computes what each document alone gives, ignored targets and padding included.</summary>
internal sealed class EquivalenceAudit(AuditedModel model, IReadOnlyList<TokenSequence> documents, Tolerances tolerances)
{
    /// <summary>All checks.</summary>
    public IEnumerable<AuditCheck> Run(IEnumerable<AuditedStrategy> strategies)
    {
        TokenSequence[] sequences = [.. documents.Select(WithIgnoredTargets)];
        using BatchResult alone = model.RunAlone(sequences);
        yield return Loss(alone, sequences);
        foreach (AuditedStrategy strategy in strategies)
            foreach (AuditCheck check in Run(strategy, sequences, alone)) yield return check;
    }

    /// <summary>As a document with a prompt: of every third one the first half of the targets is ignored, and of every sixth all.</summary>
    public static TokenSequence WithIgnoredTargets(TokenSequence document, int index)
    {
        int[] targets = document.Targets.ToArray();
        Array.Fill(targets, PackedBatch.IgnoreIndex, 0, (index % 6) switch { 2 => targets.Length / 2, 5 => targets.Length, _ => 0 });
        return document with { Targets = targets };
    }

    // From the logits, in double precision.
    private AuditCheck Loss(BatchResult alone, TokenSequence[] sequences)
    {
        var comparison = new Comparison(AuditArea.Labels, "the loss is that of the counted targets alone, computed apart in double precision");
        using TensorScope scope = TensorScope.Begin();
        double sum = 0;
        long counted = 0;
        for (int i = 0; i < sequences.Length; i++)
        {
            double[] logits = alone.Logits.Narrow(0, alone.Rows[i].First, alone.Rows[i].Count).ToArray<double>();
            ReadOnlySpan<int> targets = sequences[i].Targets.Span;
            for (int row = 0; row < targets.Length; row++)
            {
                if (targets[row] == PackedBatch.IgnoreIndex) continue;
                ReadOnlySpan<double> scores = logits.AsSpan(row * model.VocabularySize, model.VocabularySize);
                double largest = double.NegativeInfinity, total = 0;
                foreach (double score in scores) largest = Math.Max(largest, score);
                foreach (double score in scores) total += Math.Exp(score - largest);
                sum += largest + Math.Log(total) - scores[targets[row]];
                counted++;
            }
        }
        comparison.Add("loss", $"{counted} counted targets", Difference.Between(sum, alone.Loss), tolerances.Forward, Math.Max(counted, 1));
        return comparison.ToCheck($"{counted} of {sequences.Sum(sequence => sequence.Targets.Length)} targets count");
    }

    private IEnumerable<AuditCheck> Run(AuditedStrategy strategy, TokenSequence[] sequences, BatchResult alone)
    {
        string claim = $"{strategy.Name}: all documents together give what each gives alone";
        if (strategy.WrongSequences(sequences, model.Device) is { } wrong)
        {
            yield return new(AuditArea.Equivalence, claim, AuditOutcome.Fails, wrong, []);
            yield break;
        }
        (BatchResult? together, string? why) = Together(strategy, sequences);
        if (together is null)
        {
            yield return AuditCheck.NotRun(AuditArea.Equivalence, claim, why!);
            yield break;
        }
        using (together)
        {
            yield return Compare(claim, sequences, alone, together);
            if (together.Logits.Shape[0] > sequences.Sum(sequence => sequence.Tokens.Length)) yield return Padding(strategy, sequences, together);
        }
    }

    private AuditCheck Compare(string claim, TokenSequence[] sequences, BatchResult alone, BatchResult together)
    {
        var comparison = new Comparison(AuditArea.Equivalence, claim);
        for (int i = 0; i < sequences.Length; i++)
        {
            string where = $"document {i} of {sequences[i].Tokens.Length} tokens";
            comparison.Add("logits", where, alone.LogitsTo(i, together, i), tolerances.Forward, 1);
            comparison.Add("embedding gradients", where, alone.InputGradientTo(i, together, i), tolerances.Backward, BatchResult.GradientFloor);
        }
        comparison.Add("loss", "their sum", Difference.Between(alone.Loss, together.Loss), tolerances.Forward, Math.Max(1, sequences.Sum(Counted)));
        comparison.Add("parameter gradients", "their sum", alone.ParametersTo(together), tolerances.Backward, BatchResult.GradientFloor);
        return comparison.ToCheck($"{sequences.Length} documents, {sequences.Sum(sequence => sequence.Tokens.Length)} tokens");
    }

    private AuditCheck Padding(AuditedStrategy strategy, TokenSequence[] sequences, BatchResult expected)
    {
        var comparison = new Comparison(AuditArea.Equivalence, $"{strategy.Name}: what stands in the padding changes nothing");
        int width = expected.InputGradient!.Shape[1];
        var real = new bool[expected.Logits.Shape[0]];
        foreach ((int first, int count) in expected.Rows) real.AsSpan(first, count).Fill(true);
        using BatchResult actual = model.Run(strategy.Collator.Collate(sequences, model.Device), values =>
        {
            for (int i = 0; i < values.Length; i++)
                if (!real[i / width]) values[i] = i % 7 - 3;
        });
        for (int i = 0; i < sequences.Length; i++)
        {
            string where = $"document {i} of {sequences[i].Tokens.Length} tokens";
            comparison.Add("logits", where, expected.LogitsTo(i, actual, i), model.IsExact ? 0 : tolerances.Forward, 1);
            comparison.Add("embedding gradients", where, expected.InputGradientTo(i, actual, i), model.IsExact ? 0 : tolerances.Backward, BatchResult.GradientFloor);
        }
        comparison.Add("loss", "their sum", Difference.Between(expected.Loss, actual.Loss), model.IsExact ? 0 : tolerances.Forward, Math.Max(1, sequences.Sum(Counted)));
        comparison.Add("parameter gradients", "their sum", expected.ParametersTo(actual), model.IsExact ? 0 : tolerances.Backward, BatchResult.GradientFloor);
        double[] gradient = actual.InputGradient!.ToArray<double>();
        int reached = Enumerable.Range(0, gradient.Length).FirstOrDefault(i => !real[i / width] && gradient[i] != 0, -1);
        comparison.Require(reached < 0, reached < 0 ? "" : FormattableString.Invariant($"row {reached / width}, which is padding, has the gradient {gradient[reached]:0.###e-0}"));
        return comparison.ToCheck($"{real.Count(isReal => !isReal)} of {real.Length} rows are padding");
    }

    // A strategy may not be able to do what a model or device asks, and says so.
    private (BatchResult? Result, string? Why) Together(AuditedStrategy strategy, TokenSequence[] sequences)
    {
        try
        {
            return (model.Run(strategy.Collator.Collate(sequences, model.Device)), null);
        }
        catch (NotSupportedException e)
        {
            return (null, e.Message);
        }
    }

    private static int Counted(TokenSequence sequence) => sequence.Targets.Length - sequence.Targets.Span.Count(PackedBatch.IgnoreIndex);
}
