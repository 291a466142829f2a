using Varlen.Data;
using Varlen.Models;

namespace Varlen.Auditing;

/// <summary>
/// Proves on a model and documents that packing them changes nothing: other documents of a batch change no logits, loss or gradient of a
/// document; each strategy gives what each document alone gives; targets stay in their documents, and ignored ones do not count.
/// </summary>
/// <remarks>
/// Without dropout. The same bits are asked for where they are promised: for results of rows, and for sums over rows whose document stays in
/// its place, on the CPU and on a GPU in deterministic mode; for attention alone always. Elsewhere errors may be what rounding explains.
/// Gradients of the model are forgotten; its mode is restored.
/// </remarks>
public sealed class ModelAudit
{
    private readonly CausalLanguageModel _model;
    private readonly IReadOnlyList<TokenSequence> _documents;
    private readonly ulong _seed;

    /// <summary>Prepares an audit; nothing is computed yet.</summary>
    /// <param name="model">The model.</param>
    /// <param name="documents">Sequences of at least one token each, together one batch; some of them short and some long.</param>
    /// <param name="seed">Seed of what documents are replaced by.</param>
    /// <exception cref="ArgumentException">There are no documents, or one is empty or longer than the model's positions.</exception>
    public ModelAudit(CausalLanguageModel model, IReadOnlyList<TokenSequence> documents, ulong seed = 1)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(documents);
        if (documents.Count == 0) throw new ArgumentException("there are no documents; pass at least one", nameof(documents));
        for (int i = 0; i < documents.Count; i++)
            if (documents[i].Tokens.Length is var length && (length == 0 || length > model.MaxLength))
                throw new ArgumentException($"document {i} has {length} tokens, and the model reads 1 to {model.MaxLength}; cut it with TokenSequence.Cut", nameof(documents));
        (_model, _documents, _seed) = (model, documents, seed);
        int longest = documents.Max(document => document.Tokens.Length);
        Strategies = AuditedStrategy.All(longest + Math.Max(1, longest / 4));
    }

    /// <summary>All strategies, for these documents.</summary>
    public IReadOnlyList<AuditedStrategy> Strategies { get; }

    /// <summary>Everything: isolation of the packed form, and equivalence and labels of all strategies.</summary>
    public IReadOnlyList<AuditCheck> Run() => [.. Isolation(AuditedStrategy.Packed), .. Equivalence(Strategies), .. Labels(Strategies)];

    /// <summary>Other documents changed, made extreme, lengthened, reordered, removed, and not finite; and no look ahead.</summary>
    /// <param name="strategy">How the documents become a batch.</param>
    public IReadOnlyList<AuditCheck> Isolation(AuditedStrategy strategy)
    {
        ArgumentNullException.ThrowIfNull(strategy);
        return Audit(model => [.. new IsolationAudit(model, strategy, _documents, Tolerances.Of(model, _documents), _seed).Run(), .. new AttentionAudit(model, strategy, _documents, _seed).Run()]);
    }

    /// <summary>All documents in one batch beside each in a batch of its own; some of the targets are ignored.</summary>
    /// <param name="strategies">How the documents become a batch.</param>
    public IReadOnlyList<AuditCheck> Equivalence(IEnumerable<AuditedStrategy> strategies)
    {
        ArgumentNullException.ThrowIfNull(strategies);
        return Audit(model => [.. new EquivalenceAudit(model, _documents, Tolerances.Of(model, _documents)).Run(strategies)]);
    }

    /// <summary>What batches hold, beside the sequences that they are made of; some of the targets are ignored.</summary>
    /// <param name="strategies">How the documents become a batch.</param>
    public IReadOnlyList<AuditCheck> Labels(IEnumerable<AuditedStrategy> strategies)
    {
        ArgumentNullException.ThrowIfNull(strategies);
        return [.. strategies.Select(strategy => LabelAudit.Run(strategy, _documents, _model.Device))];
    }

    private IReadOnlyList<AuditCheck> Audit(Func<AuditedModel, IReadOnlyList<AuditCheck>> run)
    {
        bool training = _model.IsTraining;
        _model.Eval();
        try
        {
            return run(new AuditedModel(_model));
        }
        finally
        {
            _model.Train(training);
        }
    }
}
