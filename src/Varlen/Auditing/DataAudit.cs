using Varlen.Data;

namespace Varlen.Auditing;

/// <summary>A document as a tokenizer gives it when it is asked for that document alone.</summary>
/// <param name="Source">File, and line where a file has several documents.</param>
/// <param name="Tokens">Its ids, end of text included; null when they cannot be told apart from how the text was cut.</param>
/// <param name="Trained">Whether each of them is trained as a target; null when all are.</param>
public readonly record struct AuditedDocument(string Source, ReadOnlyMemory<int>? Tokens, ReadOnlyMemory<bool>? Trained = null);

/// <summary>
/// Proves on data what <see cref="SequencePlan"/> and loaders promise: every token is in the store and in an epoch once, targets stay in their
/// document, and nothing held out is trained on. Everything is counted again, token by token.
/// </summary>
/// <param name="store">The tokens.</param>
/// <param name="plan">A plan of that store.</param>
public sealed class DataAudit(TokenStore store, SequencePlan plan)
{
    private readonly TokenStore _store = store ?? throw new ArgumentNullException(nameof(store));
    private readonly SequencePlan _plan = plan ?? throw new ArgumentNullException(nameof(plan));

    /// <summary>Whether the store holds these documents, token for token, and nothing else; and whether the plan's ledger counts them right.</summary>
    /// <param name="documents">All documents in order, tokenised one by one. Read once.</param>
    public IReadOnlyList<AuditCheck> Store(IEnumerable<AuditedDocument> documents)
    {
        ArgumentNullException.ThrowIfNull(documents);
        var content = new Comparison(AuditArea.Ledger, "the store is the data's documents, tokenised one by one");
        int count = 0;
        long tokens = 0, ends = 0, unread = 0;
        foreach (AuditedDocument document in documents)
        {
            int index = count++;
            if (index >= _store.DocumentCount)
            {
                content.Require(false, $"{document.Source} is document {index}, and the store has {_store.DocumentCount}");
                continue;
            }
            long length = document.Tokens?.Length ?? _store.Length(index);
            (tokens, ends) = (tokens + length, ends + Math.Min(1, length));
            if (document.Tokens is not { } expected) unread++;
            else if (WhyDifferent(index, expected.Span, document.Trained) is { } why) content.Require(false, $"{document.Source}, document {index}: {why}");
        }
        content.Require(count == _store.DocumentCount, $"the data has {count} documents, and the store {_store.DocumentCount}");
        string detail = $"{count} documents, {tokens} tokens";
        AuditCheck held = content.ToCheck(unread == 0 ? detail : $"{detail}; of {unread} documents with words above 256 KiB, which are cut, the ids were not compared");
        return [held, Ledger(tokens, ends)];
    }

    /// <summary>Whether batches hold the epoch that the plan promises.</summary>
    /// <param name="name">What makes the batches, in a few words.</param>
    /// <param name="training">The batches of one epoch of training, such as <see cref="Epoch(PackedLoader)"/>; disposed as they are read.</param>
    /// <param name="heldOut">The batches of an evaluation, such as <see cref="EvaluationBatches.Read"/>; disposed as they are read.</param>
    public IReadOnlyList<AuditCheck> Epoch(string name, IEnumerable<TokenBatch> training, IEnumerable<TokenBatch> heldOut)
    {
        ArgumentNullException.ThrowIfNull(training);
        ArgumentNullException.ThrowIfNull(heldOut);
        var labels = new Comparison(AuditArea.Labels, $"{name}: every target is the token that follows in its document; positions restart");
        var places = new SequencePlaces(_store, _plan);
        TargetCoverage trained = new(_store), evaluated = new(_store);
        EpochReading reading = new(_store, places, labels);
        TokenTally trainedTally = reading.Read("training", training, trained), heldOutTally = reading.Read("held out", heldOut, evaluated);

        var once = new Comparison(AuditArea.Ledger, $"{name}: an epoch has each target that is not held out once");
        once.Require(trained.Repeated is null, $"{trained.Repeated} is a target twice in an epoch");
        (string? missing, long untrained) = trained.Missing(evaluated);
        once.Require(missing is null, $"{missing} is a target neither in training nor in evaluation");
        long dropped = _plan.Ledger.Inputs.Dropped.Values.Sum();
        once.Require(untrained == dropped, $"{untrained} tokens that are not trained are in no sequence, and the ledger drops {dropped}");
        var apart = new Comparison(AuditArea.Ledger, $"{name}: nothing held out is trained on; all of it is evaluated once");
        apart.Require(evaluated.Repeated is null, $"{evaluated.Repeated} is evaluated twice");
        if (trained.FirstShared(evaluated) is { } shared) apart.Require(false, $"{shared} is held out and trained on");
        apart.Require(evaluated.Count == _plan.HeldOutTokens, $"{evaluated.Count} targets are evaluated, and {_plan.HeldOutTokens} are held out");
        return
        [
            labels.ToCheck($"{trainedTally.Sequences + heldOutTally.Sequences} sequences"),
            once.ToCheck($"{trainedTally.Batches} batches, {trainedTally.Inputs} input tokens, {trainedTally.Targets} targets"),
            apart.ToCheck($"{heldOutTally.Targets} targets held out"),
            Counts(name, trainedTally),
        ];
    }

    /// <summary>The batches of a loader from where it stands to the end of its epoch.</summary>
    /// <param name="loader">The loader.</param>
    public static IEnumerable<TokenBatch> Epoch(PackedLoader loader)
    {
        ArgumentNullException.ThrowIfNull(loader);
        for (int epoch = loader.Position.Epoch; loader.Position.Epoch == epoch;) yield return loader.Next();
    }

    private AuditCheck Counts(string name, TokenTally training)
    {
        var counts = new Comparison(AuditArea.Ledger, $"{name}: an epoch delivers what the ledger says");
        counts.Require(training.Inputs == _plan.Ledger.Inputs.Trained, $"the batches have {training.Inputs} input tokens, and the ledger {_plan.Ledger.Inputs.Trained}");
        counts.Require(training.Targets == _plan.Ledger.Targets.Trained, $"the batches count {training.Targets} targets, and the ledger {_plan.Ledger.Targets.Trained}");
        return counts.ToCheck($"{training.Inputs} inputs, {training.Targets} targets");
    }

    private AuditCheck Ledger(long tokens, long ends)
    {
        var ledger = new Comparison(AuditArea.Ledger, "the ledger balances with a count of the data made apart");
        foreach ((string side, TokenCount counted) in new[] { ("inputs", _plan.Ledger.Inputs), ("targets", _plan.Ledger.Targets) })
        {
            long dropped = counted.Dropped.Values.Sum(), known = counted.Trained + counted.HeldOut + counted.Ignored + dropped;
            ledger.Require(counted.Read == tokens, $"{side}: the ledger has {counted.Read} tokens read, and the data has {tokens}");
            ledger.Require(counted.Ends == ends, $"{side}: the ledger has {counted.Ends} ends, and the data has {ends} documents with tokens");
            ledger.Require(known == tokens - ends, $"{side}: {counted.Trained} trained, {counted.HeldOut} held out, {counted.Ignored} ignored and {dropped} dropped are not the {tokens - ends} that the data has");
            ledger.Require(counted.Dropped.Keys.All(reason => reason == TokenCount.NoTrainedTarget), $"{side}: tokens are dropped because of {string.Join(", ", counted.Dropped.Keys)}");
        }
        TokenCount inputs = _plan.Ledger.Inputs, targets = _plan.Ledger.Targets;
        string detail = $"{tokens} tokens = {inputs.Trained} trained + {inputs.HeldOut} held out + {ends} ends of documents";
        if (inputs.Dropped.Count > 0) detail += $" + {inputs.Dropped.Values.Sum()} in sequences without a trained target";
        return ledger.ToCheck(targets.Ignored == 0 ? detail : $"{detail}; {targets.Ignored} targets ignored");
    }

    private string? WhyDifferent(int document, ReadOnlySpan<int> expected, ReadOnlyMemory<bool>? trained)
    {
        long length = _store.Length(document);
        if (length != expected.Length) return $"it has {expected.Length} tokens, and {length} in the store";
        int[] stored = _store.Read(document);
        int same = expected.CommonPrefixLength(stored);
        if (same < expected.Length) return $"token {same} is {expected[same]}, and {stored[same]} in the store";
        // Nothing predicts the first token.
        for (int i = 1; i < expected.Length; i++)
        {
            bool isTrained = _store.CountTrained(document, i, 1) == 1;
            if (isTrained != (trained?.Span[i] ?? true)) return $"token {i} is {(isTrained ? "trained in the store, and should not be" : "not trained in the store, and should be")}";
        }
        return null;
    }
}
