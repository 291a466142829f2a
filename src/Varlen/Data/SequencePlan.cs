using System.Security.Cryptography;
using System.Text;

namespace Varlen.Data;

/// <summary>
/// Which tokens of a store are trained on, which are held out, and how documents are cut into sequences: a pure function of store, context
/// and seed. A document longer than the context is cut into chunks whose targets are the tokens behind them, so that every token but a
/// document's first is predicted exactly once, and no target leaves its document. Sequences of which no target is trained are left out.
/// </summary>
public sealed class SequencePlan
{
    private const int FewDocuments = 20;
    private const double HeldOutShare = 0.05;
    private readonly SequenceChunk[] _training, _heldOut;

    private SequencePlan(TokenStore store, SequenceCutting cut, int seed, string split)
    {
        (Context, Seed, Content, CutDocuments) = (cut.Context, seed, store.ContentHash, cut.CutDocuments);
        (_training, _heldOut) = ([.. cut.Training.Chunks], [.. cut.HeldOut.Chunks]);
        (TrainingTokens, TrainingTargets, HeldOutTokens, HeldOutTargets) = (cut.Training.Tokens, cut.Training.Targets, cut.HeldOut.Tokens, cut.HeldOut.Targets);
        long ends = 0, ignored = TrainingTokens - TrainingTargets + HeldOutTokens - HeldOutTargets;
        for (int document = 0; document < store.DocumentCount; document++) ends += Math.Min(1, store.Length(document));
        var dropped = new Dictionary<string, long>();
        if (cut.LeftOut > 0) dropped.Add(TokenCount.NoTrainedTarget, cut.LeftOut);
        Ledger = new TokenLedger(new(store.Tokens, TrainingTokens, HeldOutTokens, ends, 0, dropped), new(store.Tokens, TrainingTargets, HeldOutTargets, ends, ignored, dropped)).Balanced();
        Fingerprint = Convert.ToHexStringLower(SHA256.HashData(Encoding.ASCII.GetBytes($"{store.ContentHash} {store.VocabularySize} {Context} {seed} {split}")));
    }

    /// <summary>Most tokens of a sequence.</summary>
    public int Context { get; }

    /// <summary>Seed of the split.</summary>
    public int Seed { get; }

    /// <summary>The sequences of an epoch, in the order of the store.</summary>
    public ReadOnlyMemory<SequenceChunk> Training => _training;

    /// <summary>The sequences of an evaluation, in the order of the store.</summary>
    public ReadOnlyMemory<SequenceChunk> HeldOut => _heldOut;

    /// <summary>Tokens of <see cref="Training"/>.</summary>
    public long TrainingTokens { get; }

    /// <summary>Targets of <see cref="Training"/> that are trained: of texts one for each token, else fewer.</summary>
    public long TrainingTargets { get; }

    /// <summary>Tokens of <see cref="HeldOut"/>.</summary>
    public long HeldOutTokens { get; }

    /// <summary>Targets of <see cref="HeldOut"/> that are evaluated.</summary>
    public long HeldOutTargets { get; }

    /// <summary>Documents longer than the context, which are cut into several sequences.</summary>
    public int CutDocuments { get; }

    /// <summary>Where all tokens went.</summary>
    public TokenLedger Ledger { get; }

    /// <summary>SHA-256, in hexadecimal digits, of data, context, seed and split: equal plans have equal ones.</summary>
    public string Fingerprint { get; }

    /// <summary>The <see cref="TokenStore.ContentHash"/> of the store.</summary>
    internal string Content { get; }

    internal void RequireStore(TokenStore store, string parameter)
    {
        if (store.ContentHash != Content) throw new ArgumentException($"{store.Path} holds other data than the plan was made for; pass the same store to both", parameter);
    }

    /// <summary>
    /// A plan that holds out 5 % of the documents, at least one, in an order that hashes of seed and index give. With fewer than 20 texts
    /// it is the last 5 % of the text instead, which can begin within a document: the token before is an input there and a target in training.
    /// Examples, of which only a part is trained, stay whole however few they are. Sequences without a trained target are left out.
    /// </summary>
    /// <param name="store">The documents.</param>
    /// <param name="context">Most tokens of a sequence.</param>
    /// <param name="seed">Seed of the split.</param>
    /// <exception cref="ArgumentOutOfRangeException">The context is less than 1.</exception>
    /// <exception cref="TextFormatException">There is too little text for both parts.</exception>
    public static SequencePlan Create(TokenStore store, int context, int seed)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentOutOfRangeException.ThrowIfLessThan(context, 1);
        SequencePlan plan = store.IsTrainedWhole && store.DocumentCount < FewDocuments ? HoldOutEnd(store, context, seed) : HoldOutDocuments(store, context, seed);
        return plan._training.Length > 0 && plan._heldOut.Length > 0
            ? plan
            : throw new TextFormatException("there is too little text to train on", store.Path, 0, 0, $"{store.DocumentCount} documents of {store.Tokens} tokens do not give both training and held-out sequences", "add text");
    }

    /// <summary>A plan to evaluate on everything: all sequences with a trained target are in <see cref="HeldOut"/>.</summary>
    /// <param name="store">The documents.</param>
    /// <param name="context">Most tokens of a sequence.</param>
    /// <exception cref="ArgumentOutOfRangeException">The context is less than 1.</exception>
    public static SequencePlan ForEvaluation(TokenStore store, int context)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentOutOfRangeException.ThrowIfLessThan(context, 1);
        var cut = new SequenceCutting(store, context);
        for (int document = 0; document < store.DocumentCount; document++) cut.HoldOut(document, 0, cut.Links(document));
        return new(store, cut, 0, "evaluation");
    }

    private static SequencePlan HoldOutDocuments(TokenStore store, int context, int seed)
    {
        var cut = new SequenceCutting(store, context);
        // Only documents with something to predict can stand for their kind.
        (ulong Hash, int Document)[] order = [.. Enumerable.Range(0, store.DocumentCount).Where(document => cut.Links(document) is > 0 and var links && store.CountTrained(document, 1, links) > 0)
            .Select(document => (Randomness.Mix(Randomness.Mix((ulong)(uint)seed) ^ (uint)document), document))];
        Array.Sort(order);
        var held = new System.Collections.BitArray(store.DocumentCount);
        foreach ((_, int document) in order.AsSpan(0, Math.Min(order.Length, Math.Max(1, (int)Math.Round(HeldOutShare * order.Length))))) held[document] = true;
        for (int document = 0; document < store.DocumentCount; document++)
        {
            if (held[document]) cut.HoldOut(document, 0, cut.Links(document));
            else cut.Train(document, 0, cut.Links(document));
        }
        return new(store, cut, seed, "documents");
    }

    private static SequencePlan HoldOutEnd(TokenStore store, int context, int seed)
    {
        var cut = new SequenceCutting(store, context);
        long links = Enumerable.Range(0, store.DocumentCount).Sum(cut.Links);
        long left = links - Math.Max(1, (long)Math.Ceiling(HeldOutShare * links));
        for (int document = 0; document < store.DocumentCount; document++)
        {
            long length = cut.Links(document), trained = Math.Clamp(left, 0, length);
            cut.Train(document, 0, trained);
            cut.HoldOut(document, trained, length);
            left -= trained;
        }
        return new(store, cut, seed, "end");
    }
}
