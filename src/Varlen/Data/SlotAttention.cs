using F = Varlen.Nn.Functional;

namespace Varlen.Data;

/// <summary>Attention of a slot: within the layouts of the batch that is there, rows behind them being padding.</summary>
internal sealed class SlotAttention : AttentionStrategy
{
    // Null where nothing need stay where it is. Of causal layers, and of the others, for which padding's queries have keys of their own.
    private readonly LayoutSlot? _causalSlot, _fullSlot;
    private SequenceLayout? _causal, _queries, _keys;
    private readonly int _longest;
    private Type? _kind;

    /// <param name="limits">Of the batches.</param>
    /// <param name="longest">Most rows of a sequence.</param>
    /// <param name="covered">Where the device reads the batch's rows; null where nothing need stay where it is.</param>
    public SlotAttention(BatchLimits limits, int longest, Tensor? covered)
    {
        _longest = longest;
        if (covered is null) return;
        // A padded row is a sequence of its real keys and one of the others.
        int sequences = (int)Math.Min(int.MaxValue, 2L * limits.Sequences);
        (_causalSlot, _fullSlot) = (new LayoutSlot(limits, longest, isSelf: true, covered), new LayoutSlot(limits with { Sequences = sequences }, longest, isSelf: false, covered));
    }

    /// <summary>Takes the layouts of a batch in place of the last one's.</summary>
    public void Set(TokenBatch batch)
    {
        (SequenceLayout causal, SequenceLayout queries, SequenceLayout keys) = batch.Attention.Layouts!.Value;
        (_kind, _causal, _queries, _keys) = (batch.GetType(), causal, queries, keys);
        if (_causalSlot is null) return;
        (_causal, _) = _causalSlot.Set(causal, causal);
        // Without padding, both kinds of layers have one layout, and share what is derived of it.
        (_queries, _keys) = ReferenceEquals(queries, keys) ? (_causal, _causal) : _fullSlot!.Set(queries, keys);
    }

    /// <summary>Refuses a batch of another kind than the first, which the step was recorded with, and kinds whose attention is more than layouts.</summary>
    public void Check(TokenBatch batch)
    {
        if (batch.Attention.Layouts is not var (rows, _, _))
            throw new ArgumentException($"a captured step does not take the attention of a {batch.GetType().Name} ({batch.Attention.GetType().Name}); pack the sequences with PackedBatch.Create", nameof(batch));
        if (rows.MaxLength > _longest) throw new ArgumentException($"the batch has a sequence of {rows.MaxLength} rows, and the model takes at most {_longest}; cut sequences with TokenSequence.Cut", nameof(batch));
        if (_kind is not null && _kind != batch.GetType()) throw new ArgumentException($"the batch is a {batch.GetType().Name}, and the step was captured with a {_kind.Name}; give each kind a CapturedStep of its own", nameof(batch));
    }

    public override Tensor Attend(Tensor query, Tensor key, Tensor value, AttentionLayer layer) => layer.Causal
        ? F.VarlenAttention(query, key, value, _causal!, _causal!, Options(layer) with { TailPolicy = TailPolicy.Padding })
        : F.VarlenAttention(query, key, value, _queries!, _keys!, Options(layer, AttentionAlignment.TopLeft) with { TailPolicy = TailPolicy.Padding });

    protected override void Dispose(bool disposing)
    {
        _causalSlot?.Dispose();
        _fullSlot?.Dispose();
        base.Dispose(disposing);
    }
}
