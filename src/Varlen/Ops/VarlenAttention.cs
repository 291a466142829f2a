using Varlen.Ops;

namespace Varlen.Nn;

public static partial class Functional
{
    /// <summary>
    /// Softmax attention within each of the packed sequences: <c>softmax(scale * Q K^T) V</c>, computed tile by tile so that no score matrix
    /// is stored (Dao et al., "FlashAttention"). No token reads another sequence.
    /// </summary>
    /// <param name="query">Queries, <c>[tokens, queryHeads, headDim]</c>, floating-point; strided views such as a chunk of a fused projection are read in place.</param>
    /// <param name="key">Keys, <c>[tokens, keyHeads, headDim]</c>; query head h reads key head <c>h / (queryHeads / keyHeads)</c>.</param>
    /// <param name="value">Values, shaped like <paramref name="key"/>.</param>
    /// <param name="layout">Where the sequences lie in the tokens.</param>
    /// <param name="window">Which keys a query sees; all by default.</param>
    /// <returns><c>[tokens, queryHeads, headDim]</c>; rows that see no key are 0.</returns>
    /// <exception cref="ArgumentException">Shapes, types, devices or metadata do not fit; nothing has been computed.</exception>
    public static Tensor VarlenAttention(Tensor query, Tensor key, Tensor value, SequenceLayout layout, AttentionWindow window = default)
        => VarlenAttentionWithLse(query, key, value, layout, layout, new AttentionOptions { Window = window }).Output;

    /// <inheritdoc cref="VarlenAttention(Tensor, Tensor, Tensor, SequenceLayout, AttentionWindow)"/>
    /// <param name="query">Queries, <c>[queryTokens, queryHeads, headDim]</c>.</param>
    /// <param name="key">Keys, <c>[keyTokens, keyHeads, headDim]</c>.</param>
    /// <param name="value">Values, shaped like <paramref name="key"/>.</param>
    /// <param name="queryLayout">Where the sequences lie in the queries.</param>
    /// <param name="keyLayout">Where they lie in the keys; as many sequences, of any length.</param>
    /// <param name="options">Window, alignment, scale and the rest; defaults when null.</param>
    public static Tensor VarlenAttention(Tensor query, Tensor key, Tensor value, SequenceLayout queryLayout, SequenceLayout keyLayout, AttentionOptions? options = null)
        => VarlenAttentionWithLse(query, key, value, queryLayout, keyLayout, options).Output;

    /// <summary>
    /// As <see cref="VarlenAttention(Tensor, Tensor, Tensor, SequenceLayout, AttentionWindow)"/>, for code ported from calls that pass offsets and maxima.
    /// </summary>
    /// <param name="query">Queries, <c>[queryTokens, queryHeads, headDim]</c>.</param>
    /// <param name="key">Keys, <c>[keyTokens, keyHeads, headDim]</c>.</param>
    /// <param name="value">Values, shaped like <paramref name="key"/>.</param>
    /// <param name="cuSeqQuery">Cumulative query offsets, Int32 or Int64 <c>[sequences + 1]</c>.</param>
    /// <param name="cuSeqKey">Cumulative key offsets, Int32 or Int64 <c>[sequences + 1]</c>.</param>
    /// <param name="maxQuery">At least the longest query sequence.</param>
    /// <param name="maxKey">At least the longest key sequence.</param>
    /// <param name="options">Window, alignment, scale and the rest; defaults when null.</param>
    public static Tensor VarlenAttention(Tensor query, Tensor key, Tensor value, Tensor cuSeqQuery, Tensor cuSeqKey, int maxQuery, int maxKey, AttentionOptions? options = null)
    {
        const string op = nameof(VarlenAttention);
        using SequenceLayout queries = SequenceLayout.FromCuSeqlens(cuSeqQuery), keys = SequenceLayout.FromCuSeqlens(cuSeqKey);
        Op.Check(maxQuery >= queries.MaxLength, op, nameof(maxQuery), $"{maxQuery} is less than the longest query sequence, {queries.MaxLength}");
        Op.Check(maxKey >= keys.MaxLength, op, nameof(maxKey), $"{maxKey} is less than the longest key sequence, {keys.MaxLength}");
        return VarlenAttention(query, key, value, queries, keys, options);
    }

    /// <summary>
    /// As <see cref="VarlenAttention(Tensor, Tensor, Tensor, SequenceLayout, AttentionWindow)"/>, and also gives each row's log-sum-exp.
    /// </summary>
    /// <param name="query">Queries, <c>[tokens, queryHeads, headDim]</c>.</param>
    /// <param name="key">Keys, <c>[tokens, keyHeads, headDim]</c>.</param>
    /// <param name="value">Values, shaped like <paramref name="key"/>.</param>
    /// <param name="layout">Where the sequences lie in the tokens.</param>
    /// <param name="window">Which keys a query sees; all by default.</param>
    /// <returns>
    /// The output, and <c>[queryHeads, tokens]</c>: the natural log of the sum over visible keys of exp(score), Float32 (Float64 for Float64
    /// inputs), -infinity where no key is visible. Both are differentiable.
    /// </returns>
    /// <exception cref="ArgumentException">Shapes, types, devices or metadata do not fit; nothing has been computed.</exception>
    public static (Tensor Output, Tensor Lse) VarlenAttentionWithLse(Tensor query, Tensor key, Tensor value, SequenceLayout layout, AttentionWindow window = default)
        => VarlenAttentionWithLse(query, key, value, layout, layout, new AttentionOptions { Window = window });

    /// <inheritdoc cref="VarlenAttentionWithLse(Tensor, Tensor, Tensor, SequenceLayout, AttentionWindow)"/>
    /// <param name="query">Queries, <c>[queryTokens, queryHeads, headDim]</c>.</param>
    /// <param name="key">Keys, <c>[keyTokens, keyHeads, headDim]</c>.</param>
    /// <param name="value">Values, shaped like <paramref name="key"/>.</param>
    /// <param name="queryLayout">Where the sequences lie in the queries.</param>
    /// <param name="keyLayout">Where they lie in the keys; as many sequences, of any length.</param>
    /// <param name="options">Window, alignment, scale and the rest; defaults when null.</param>
    public static (Tensor Output, Tensor Lse) VarlenAttentionWithLse(Tensor query, Tensor key, Tensor value, SequenceLayout queryLayout, SequenceLayout keyLayout, AttentionOptions? options = null)
    {
        const string op = nameof(VarlenAttention);
        AttentionCall call = CheckedCall(op, query, key, value, queryLayout, keyLayout, options);
        return Attention.Run(op, call, query, key, value, null, [query.Shape[1], query.Shape[0]]);
    }

    /// <summary>
    /// Which kernels <see cref="VarlenAttention(Tensor, Tensor, Tensor, SequenceLayout, SequenceLayout, AttentionOptions?)"/> would run on these
    /// arguments, and why not others: for people, not for programs. Computes nothing.
    /// </summary>
    /// <param name="query">Queries, <c>[queryTokens, queryHeads, headDim]</c>.</param>
    /// <param name="key">Keys, <c>[keyTokens, keyHeads, headDim]</c>.</param>
    /// <param name="value">Values, shaped like <paramref name="key"/>.</param>
    /// <param name="queryLayout">Where the sequences lie in the queries.</param>
    /// <param name="keyLayout">Where they lie in the keys.</param>
    /// <param name="options">Window, alignment, scale and the rest; defaults when null.</param>
    /// <exception cref="ArgumentException">Shapes, types, devices or metadata do not fit.</exception>
    public static string ExplainVarlenAttention(Tensor query, Tensor key, Tensor value, SequenceLayout queryLayout, SequenceLayout keyLayout, AttentionOptions? options = null)
    {
        const string op = nameof(VarlenAttention);
        AttentionCall call = CheckedCall(op, query, key, value, queryLayout, keyLayout, options);
        return Op.Require<IAttentionKernels>(op, query, key, value).ExplainAttention(call, query, key, value);
    }

    private static AttentionCall CheckedCall(string op, Tensor query, Tensor key, Tensor value, SequenceLayout queryLayout, SequenceLayout keyLayout, AttentionOptions? options)
    {
        ArgumentNullException.ThrowIfNull(queryLayout);
        ArgumentNullException.ThrowIfNull(keyLayout);
        options ??= new AttentionOptions();
        Attention.CheckOperands(op, query, key, value, rank: 3, headAxis: 1, "[tokens, heads, headDim]");
        double scale = Attention.CheckOptions(op, options, query.Shape[1], query.Shape[2]);
        CheckTokens(op, query, queryLayout, options.TailPolicy, nameof(query));
        CheckTokens(op, key, keyLayout, options.TailPolicy, nameof(key));
        Op.Check(queryLayout.Count == keyLayout.Count, op, nameof(keyLayout), $"{keyLayout.Count} key sequences for {queryLayout.Count} query sequences");
        return new AttentionCall(queryLayout, keyLayout, options, scale);
    }

    private static void CheckTokens(string op, Tensor operand, SequenceLayout layout, TailPolicy policy, string parameter)
    {
        int tokens = operand.Shape[0], covered = layout.TotalTokens;
        Op.Check(covered <= tokens, op, parameter, $"the layout's last offset is {covered}, but {parameter} has only {tokens} tokens");
        Op.Check(covered == tokens || policy == TailPolicy.Padding, op, parameter,
            $"{parameter} has {tokens} tokens, but the layout's last offset is {covered}; the last {tokens - covered} belong to no sequence. Mend the offsets, or allow them with TailPolicy.Padding");
    }
}
