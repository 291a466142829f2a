using Varlen.Ops;

namespace Varlen.Nn;

public static partial class Functional
{
    /// <summary>
    /// Attention of new tokens to keys and values that are kept on pages of equal size: decoding with a cache. What lies on a page behind a
    /// sequence's last key, and on pages of no sequence, is never read.
    /// </summary>
    /// <param name="query">Queries of the new tokens, <c>[tokens, queryHeads, headDim]</c>.</param>
    /// <param name="keys">The cache of keys, <c>[pages, pageSize, keyHeads, headDim]</c>, the new tokens' included; dense, pages of any size.</param>
    /// <param name="values">The cache of values, shaped like <paramref name="keys"/>.</param>
    /// <param name="queryLayout">Where each sequence's new tokens lie.</param>
    /// <param name="pages">How many keys each sequence has, and on which pages.</param>
    /// <param name="options">Window, alignment, scale and the rest; defaults when null.</param>
    /// <returns><c>[tokens, queryHeads, headDim]</c>. It takes no gradient.</returns>
    /// <exception cref="ArgumentException">Shapes, types, devices, lengths or pages do not fit; nothing has been computed.</exception>
    /// <exception cref="InvalidOperationException">A gradient would be needed.</exception>
    public static Tensor VarlenAttention(Tensor query, Tensor keys, Tensor values, SequenceLayout queryLayout, KeyPages pages, AttentionOptions? options = null)
        => VarlenAttentionWithLse(query, keys, values, queryLayout, pages, options).Output;

    /// <inheritdoc cref="VarlenAttention(Tensor, Tensor, Tensor, SequenceLayout, KeyPages, AttentionOptions?)"/>
    /// <returns>The output, and each row's log-sum-exp, <c>[queryHeads, tokens]</c>. They take no gradient.</returns>
    public static (Tensor Output, Tensor Lse) VarlenAttentionWithLse(Tensor query, Tensor keys, Tensor values, SequenceLayout queryLayout, KeyPages pages, AttentionOptions? options = null)
    {
        const string op = nameof(VarlenAttention);
        AttentionCall call = CachedCall(op, query, ref keys, ref values, queryLayout, pages, options);
        return Attention.Run(op, call, query, keys, values, null, [query.Shape[1], query.Shape[0]]);
    }

    /// <inheritdoc cref="ExplainVarlenAttention(Tensor, Tensor, Tensor, SequenceLayout, SequenceLayout, AttentionOptions?)"/>
    /// <param name="query">Queries of the new tokens.</param>
    /// <param name="keys">The cache of keys.</param>
    /// <param name="values">The cache of values.</param>
    /// <param name="queryLayout">Where each sequence's new tokens lie.</param>
    /// <param name="pages">How many keys each sequence has, and on which pages.</param>
    /// <param name="options">Window, alignment, scale and the rest; defaults when null.</param>
    public static string ExplainVarlenAttention(Tensor query, Tensor keys, Tensor values, SequenceLayout queryLayout, KeyPages pages, AttentionOptions? options = null)
    {
        const string op = nameof(VarlenAttention);
        AttentionCall call = CachedCall(op, query, ref keys, ref values, queryLayout, pages, options);
        return Op.Require<IAttentionKernels>(op, query, keys, values).ExplainAttention(call, query, keys, values);
    }

    /// <summary>
    /// As <see cref="VarlenAttention(Tensor, Tensor, Tensor, SequenceLayout, SequenceLayout, AttentionOptions?)"/> where only the first keys of
    /// each sequence count; what lies behind them is never read. The job of <c>seqused_k</c> without pages.
    /// </summary>
    /// <param name="query">Queries, <c>[queryTokens, queryHeads, headDim]</c>.</param>
    /// <param name="key">Keys, <c>[keyTokens, keyHeads, headDim]</c>.</param>
    /// <param name="value">Values, shaped like <paramref name="key"/>.</param>
    /// <param name="queryLayout">Where the sequences lie in the queries.</param>
    /// <param name="keyLayout">Where they lie in the keys.</param>
    /// <param name="keyLengths">Keys of each sequence that count, at most its length in <paramref name="keyLayout"/>.</param>
    /// <param name="options">Window, alignment, scale and the rest; defaults when null.</param>
    /// <returns>The output and each row's log-sum-exp. They take no gradient.</returns>
    /// <exception cref="ArgumentException">Shapes, types, devices or lengths do not fit; nothing has been computed.</exception>
    /// <exception cref="InvalidOperationException">A gradient would be needed.</exception>
    public static (Tensor Output, Tensor Lse) VarlenAttentionWithLse(
        Tensor query, Tensor key, Tensor value, SequenceLayout queryLayout, SequenceLayout keyLayout, ReadOnlySpan<int> keyLengths, AttentionOptions? options = null)
    {
        const string op = nameof(VarlenAttention);
        AttentionCall call = CheckedCall(op, query, key, value, queryLayout, keyLayout, options);
        RequireInference(op, call.Options, query, key, value);
        Op.Check(keyLengths.Length == keyLayout.Count, op, nameof(keyLengths), $"there are {keyLengths.Length} lengths for {keyLayout.Count} sequences");
        for (int i = 0; i < keyLengths.Length; i++)
            Op.Check(keyLengths[i] >= 0 && keyLengths[i] <= keyLayout.Lengths[i], op, nameof(keyLengths), $"keyLengths[{i}] = {keyLengths[i]} is not in 0..{keyLayout.Lengths[i]}, the sequence's length");
        using SequenceLayout valid = SequenceLayout.FromLengths(keyLengths);
        return Attention.Run(op, call with { Key = valid, KeyStarts = keyLayout.Offsets.ToArray() }, query, key, value, null, [query.Shape[1], query.Shape[0]]);
    }

    // The operands become packed views: kernels find the rows by starts or by the table.
    private static AttentionCall CachedCall(string op, Tensor query, ref Tensor keys, ref Tensor values, SequenceLayout queryLayout, KeyPages pages, AttentionOptions? options)
    {
        ArgumentNullException.ThrowIfNull(query);
        ArgumentNullException.ThrowIfNull(keys);
        ArgumentNullException.ThrowIfNull(values);
        ArgumentNullException.ThrowIfNull(queryLayout);
        ArgumentNullException.ThrowIfNull(pages);
        options ??= new AttentionOptions();
        RequireInference(op, options, query, keys, values);
        Op.Check(keys.Shape.Rank == 4 && keys.IsContiguous, op, nameof(keys), $"keys is {keys.Shape}; expected a dense [pages, pageSize, heads, headDim]");
        Op.Check(values.Shape == keys.Shape && values.IsContiguous, op, nameof(values), $"values is {values.Shape}, keys is {keys.Shape}; they must be equal and dense");
        (int count, int size) = (keys.Shape[0], keys.Shape[1]);
        Op.Check(queryLayout.Count == pages.Count, op, nameof(pages), $"there are pages for {pages.Count} sequences, and the layout has {queryLayout.Count}");
        pages.Check(op, count, size, nameof(pages));
        Op.Check((long)count * size <= int.MaxValue, op, nameof(keys), $"{count} pages of {size} are more than {int.MaxValue} keys");
        (int heads, int dim) = (keys.Shape[2], keys.Shape[3]);
        (keys, values) = (keys.View(count * size, heads, dim), values.View(count * size, heads, dim));
        Attention.CheckOperands(op, query, keys, values, rank: 3, headAxis: 1, "[tokens, heads, headDim]");
        double scale = Attention.CheckOptions(op, options, query.Shape[1], query.Shape[2]);
        CheckTokens(op, query, queryLayout, options.TailPolicy, nameof(query));
        return new AttentionCall(queryLayout, pages.Layout, options, scale, KeyStarts: pages.Starts(size), Pages: pages, PageSize: size);
    }

    private static void RequireInference(string op, AttentionOptions options, params ReadOnlySpan<Tensor> operands)
    {
        Op.Check(options.Dropout is null, op, nameof(options), $"cached keys are for decoding, which drops no links");
        foreach (Tensor operand in operands)
            if (Op.Records(operand)) throw new InvalidOperationException($"{op} over cached keys takes no gradient; call it inside of GradMode.NoGrad()");
    }
}
