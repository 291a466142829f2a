using Varlen.Data;

namespace Varlen.Auditing;

/// <summary>Whether what else is in a batch changes anything for a document.</summary>
internal sealed class IsolationAudit(AuditedModel model, AuditedStrategy strategy, IReadOnlyList<TokenSequence> documents, Tolerances tolerances, ulong seed)
{
    private readonly int[] _probes = Probes(documents);

    /// <summary>A change of the other documents.</summary>
    /// <param name="What">In words.</param>
    /// <param name="InPlace">Whether the document keeps its rows in the batch.</param>
    /// <param name="Vary">The changed sequences, and where the document is among them.</param>
    private sealed record Variant(string What, bool InPlace, Func<int, (TokenSequence[] Sequences, int Place)> Vary);

    /// <summary>All checks.</summary>
    public IReadOnlyList<AuditCheck> Run()
    {
        if (documents.Count < 2) return [AuditCheck.NotRun(AuditArea.Isolation, $"{strategy.Name}: other documents change nothing", "there is only one document")];
        if (strategy.WrongSequences(documents, model.Device) is { } wrong) return [new(AuditArea.Isolation, $"{strategy.Name}: each document is a sequence of the batch", AuditOutcome.Fails, wrong, [])];
        Variant[] variants = Variants();
        Comparison[] changed = [.. variants.Select(variant => new Comparison(AuditArea.Isolation, $"{strategy.Name}, {variant.What}: a document's results stay"))];
        var notFinite = new Comparison(AuditArea.Isolation, $"{strategy.Name}, other documents NaN and infinite: a document's results stay");
        var gradient = new Comparison(AuditArea.Isolation, $"{strategy.Name}: a document's loss has no gradient for what is not its own");
        foreach (int probe in _probes)
        {
            string where = $"document {probe} of {documents[probe].Tokens.Length} tokens";
            using BatchResult expected = model.Run(Collate([.. documents], probe));
            double largest = expected.LargestGradientBeside(probe);
            gradient.Require(largest == 0, FormattableString.Invariant($"{where}: a row of another document, or of padding, has the gradient {largest:0.###e-0}"));
            for (int i = 0; i < variants.Length; i++) Compare(variants[i], changed[i], expected, probe, where);
            CompareNotFinite(notFinite, expected, probe, where);
        }
        string looked = $"documents of {string.Join(", ", _probes.Select(probe => documents[probe].Tokens.Length))} tokens, each among {documents.Count}";
        return [.. changed.Append(notFinite).Append(gradient).Select(comparison => comparison.ToCheck(looked))];
    }

    private Variant[] Variants()
    {
        var random = new Randomness(seed);
        return
        [
            new("others' tokens changed", true, probe => (Replaced(probe, _ => random.Next(model.VocabularySize)), probe)),
            new("others' tokens the smallest and largest id", true, probe => (Replaced(probe, i => i % 2 == 0 ? 0 : model.VocabularySize - 1), probe)),
            new("others of other lengths", false, probe => ([.. documents.Select((document, i) => i == probe ? document : Resized(document))], probe)),
            new("others in another order", false, probe => ([.. documents.Reverse()], documents.Count - 1 - probe)),
            new("others removed", false, probe => ([documents[probe]], 0)),
        ];
    }

    private void Compare(Variant variant, Comparison comparison, BatchResult expected, int probe, string where)
    {
        (TokenSequence[] sequences, int place) = variant.Vary(probe);
        using BatchResult actual = model.Run(Collate(sequences, place));
        CompareRows(comparison, expected, actual, probe, place, where);
        // Sums over rows are added up in runs of fixed length from the batch's first row, so they keep their bits only in their place.
        bool exact = model.IsExact && variant.InPlace;
        comparison.Add("loss", where, Difference.Between(expected.Loss, actual.Loss), exact ? 0 : tolerances.Forward, documents[probe].Targets.Length);
        comparison.Add("parameter gradients", where, expected.ParametersTo(actual), exact ? 0 : tolerances.Backward, BatchResult.GradientFloor);
    }

    private void CompareRows(Comparison comparison, BatchResult expected, BatchResult actual, int probe, int place, string where)
    {
        comparison.Add("logits", where, expected.LogitsTo(probe, actual, place), model.IsExact ? 0 : tolerances.Forward, 1);
        comparison.Add("embedding gradients", where, expected.InputGradientTo(probe, actual, place), model.IsExact ? 0 : tolerances.Backward, BatchResult.GradientFloor);
    }

    private void CompareNotFinite(Comparison comparison, BatchResult expected, int probe, string where)
    {
        int width = expected.InputGradient!.Shape[1];
        using BatchResult actual = model.Run(Collate([.. documents], probe), values =>
        {
            foreach ((int first, int count) in expected.Rows.Where((_, i) => i != probe))
                for (int row = first; row < first + count; row++)
                    values.AsSpan(row * width, width).Fill((row % 3) switch { 0 => double.NaN, 1 => double.PositiveInfinity, _ => double.NegativeInfinity });
        });
        CompareRows(comparison, expected, actual, probe, probe, where);
    }

    // Only one document has targets: the gradients are those of its loss alone.
    private TokenBatch Collate(IReadOnlyList<TokenSequence> sequences, int counted)
        => strategy.Collator.Collate([.. sequences.Select((sequence, i) => i == counted ? sequence : Ignored(sequence))], model.Device);

    private TokenSequence[] Replaced(int probe, Func<int, int> id)
        => [.. documents.Select((document, i) => i == probe ? document : document with { Tokens = Enumerable.Range(0, document.Tokens.Length).Select(id).ToArray() })];

    // Half as long; a document of one token becomes one of two.
    private static TokenSequence Resized(TokenSequence document)
    {
        int[] tokens = document.Tokens.Length == 1 ? [document.Tokens.Span[0], document.Tokens.Span[0]] : document.Tokens[..(document.Tokens.Length / 2)].ToArray();
        return new(tokens, new int[tokens.Length]);
    }

    private static TokenSequence Ignored(TokenSequence sequence)
    {
        var targets = new int[sequence.Tokens.Length];
        Array.Fill(targets, PackedBatch.IgnoreIndex);
        return sequence with { Targets = targets };
    }

    // The shortest document, the median and the longest.
    private static int[] Probes(IReadOnlyList<TokenSequence> documents)
    {
        int[] order = [.. Enumerable.Range(0, documents.Count).OrderBy(i => documents[i].Tokens.Length)];
        return order.Length == 0 ? [] : [.. new[] { order[0], order[order.Length / 2], order[^1] }.Distinct()];
    }
}
