using System.Security.Cryptography;
using System.Text;

namespace Varlen.Data;

/// <summary>
/// Which tokens of a store are trained on, which are held out, and how documents are cut into sequences: a pure function of store, context
/// and seed. A document longer than the context is cut into chunks whose targets are the tokens behind them, so that every token but a
/// document's first is predicted exactly once, and no target leaves its document.
/// </summary>
public sealed class SequencePlan
{
    private const int FewDocuments = 20;
    private const double HeldOutShare = 0.05;
    private readonly SequenceChunk[] _training, _heldOut;

    private SequencePlan(TokenStore store, int context, int seed, string split, List<SequenceChunk> training, List<SequenceChunk> heldOut)
    {
        (Context, Seed, Content, _training, _heldOut) = (context, seed, store.ContentHash, [.. training], [.. heldOut]);
        (TrainingTokens, HeldOutTokens) = (_training.Sum(chunk => (long)chunk.Length), _heldOut.Sum(chunk => (long)chunk.Length));
        long ends = 0;
        for (int document = 0; document < store.DocumentCount; document++) ends += Math.Min(1, store.Length(document));
        var side = new TokenCount(store.Tokens, TrainingTokens, HeldOutTokens, ends, new Dictionary<string, long>());
        Ledger = new TokenLedger(side, side).Balanced();
        Fingerprint = Convert.ToHexStringLower(SHA256.HashData(Encoding.ASCII.GetBytes($"{store.ContentHash} {store.VocabularySize} {context} {seed} {split}")));
    }

    /// <summary>Most tokens of a sequence.</summary>
    public int Context { get; }

    /// <summary>Seed of the split.</summary>
    public int Seed { get; }

    /// <summary>The sequences of an epoch, in the order of the store.</summary>
    public ReadOnlyMemory<SequenceChunk> Training => _training;

    /// <summary>The sequences of an evaluation, in the order of the store.</summary>
    public ReadOnlyMemory<SequenceChunk> HeldOut => _heldOut;

    /// <summary>Tokens of <see cref="Training"/>, each with one target.</summary>
    public long TrainingTokens { get; }

    /// <summary>Tokens of <see cref="HeldOut"/>, each with one target.</summary>
    public long HeldOutTokens { get; }

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
    /// A plan that holds out 5 % of the documents, at least one, in an order that hashes of seed and index give. With fewer than 20 documents
    /// it is the last 5 % of the text instead, which can begin within a document: the token before is an input there and a target in training.
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
        var plan = store.DocumentCount < FewDocuments ? HoldOutEnd(store, context, seed) : HoldOutDocuments(store, context, seed);
        return plan._training.Length > 0 && plan._heldOut.Length > 0
            ? plan
            : throw new TextFormatException("there is too little text to train on", store.Path, 0, 0, $"{store.DocumentCount} documents of {store.Tokens} tokens do not give both training and held-out sequences", "add text");
    }

    /// <summary>A plan to evaluate on everything: all sequences are in <see cref="HeldOut"/>.</summary>
    /// <param name="store">The documents.</param>
    /// <param name="context">Most tokens of a sequence.</param>
    /// <exception cref="ArgumentOutOfRangeException">The context is less than 1.</exception>
    public static SequencePlan ForEvaluation(TokenStore store, int context)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentOutOfRangeException.ThrowIfLessThan(context, 1);
        var all = new List<SequenceChunk>();
        for (int document = 0; document < store.DocumentCount; document++) Cut(all, document, 0, Links(store, document), context);
        return new(store, context, 0, "evaluation", [], all);
    }

    private static SequencePlan HoldOutDocuments(TokenStore store, int context, int seed)
    {
        // Only documents with a sequence in them can stand for their kind.
        (ulong Hash, int Document)[] order = [.. Enumerable.Range(0, store.DocumentCount).Where(document => Links(store, document) > 0)
            .Select(document => (Randomness.Mix(Randomness.Mix((ulong)(uint)seed) ^ (uint)document), document))];
        Array.Sort(order);
        var held = new System.Collections.BitArray(store.DocumentCount);
        foreach ((_, int document) in order.AsSpan(0, Math.Min(order.Length, Math.Max(1, (int)Math.Round(HeldOutShare * order.Length))))) held[document] = true;
        var training = new List<SequenceChunk>();
        var heldOut = new List<SequenceChunk>();
        for (int document = 0; document < store.DocumentCount; document++) Cut(held[document] ? heldOut : training, document, 0, Links(store, document), context);
        return new(store, context, seed, "documents", training, heldOut);
    }

    private static SequencePlan HoldOutEnd(TokenStore store, int context, int seed)
    {
        long links = Enumerable.Range(0, store.DocumentCount).Sum(document => Links(store, document));
        long left = links - Math.Max(1, (long)Math.Ceiling(HeldOutShare * links));
        var training = new List<SequenceChunk>();
        var heldOut = new List<SequenceChunk>();
        for (int document = 0; document < store.DocumentCount; document++)
        {
            long length = Links(store, document), trained = Math.Clamp(left, 0, length);
            Cut(training, document, 0, trained, context);
            Cut(heldOut, document, trained, length, context);
            left -= trained;
        }
        return new(store, context, seed, "end", training, heldOut);
    }

    // A document of n tokens has n - 1 links from a token to the next; chunks are runs of links.
    private static long Links(TokenStore store, int document) => Math.Max(0, store.Length(document) - 1);

    private static void Cut(List<SequenceChunk> chunks, int document, long from, long to, int context)
    {
        for (long start = from; start < to; start += context) chunks.Add(new(document, start, (int)Math.Min(context, to - start)));
    }
}
