using Varlen.Ops;

namespace Varlen.Nn;

public static partial class Functional
{
    /// <summary>
    /// Attention over a dense batch, with PyTorch's meaning of mask and <paramref name="isCausal"/>. It runs on the kernels of
    /// <see cref="VarlenAttention(Tensor, Tensor, Tensor, SequenceLayout, AttentionWindow)"/>.
    /// </summary>
    /// <param name="query">Queries, <c>[batch, queryHeads, queries, headDim]</c>; transposed views are read in place.</param>
    /// <param name="key">Keys, <c>[batch, keyHeads, keys, headDim]</c>; the query heads must be a multiple of the key heads.</param>
    /// <param name="value">Values, shaped like <paramref name="key"/>.</param>
    /// <param name="mask">
    /// Broadcast to <c>[batch, queryHeads, queries, keys]</c>: Bool (true = attend), or floating-point, added to the scaled scores. It takes no gradient.
    /// </param>
    /// <param name="isCausal">Query i sees keys 0..i (aligned top-left). Together with a mask, both must allow a link.</param>
    /// <param name="scale">Factor of the scores; <c>1 / sqrt(headDim)</c> when null.</param>
    /// <returns><c>[batch, queryHeads, queries, headDim]</c>; a row without a visible key is 0.</returns>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit; nothing has been computed.</exception>
    public static Tensor ScaledDotProductAttention(Tensor query, Tensor key, Tensor value, Tensor? mask = null, bool isCausal = false, double? scale = null)
        => ScaledDotProductAttention(query, key, value, mask, new AttentionOptions
        {
            Window = isCausal ? AttentionWindow.Causal : AttentionWindow.Full,
            Alignment = AttentionAlignment.TopLeft,
            Scale = scale,
        });

    /// <inheritdoc cref="ScaledDotProductAttention(Tensor, Tensor, Tensor, Tensor?, bool, double?)"/>
    /// <param name="query">Queries, <c>[batch, queryHeads, queries, headDim]</c>.</param>
    /// <param name="key">Keys, <c>[batch, keyHeads, keys, headDim]</c>.</param>
    /// <param name="value">Values, shaped like <paramref name="key"/>.</param>
    /// <param name="mask">Broadcast to <c>[batch, queryHeads, queries, keys]</c>: Bool or additive; null for none.</param>
    /// <param name="options">Window, alignment, scale and the rest. Document keys of dropout are the batch indices.</param>
    public static Tensor ScaledDotProductAttention(Tensor query, Tensor key, Tensor value, Tensor? mask, AttentionOptions options)
    {
        const string op = nameof(ScaledDotProductAttention);
        ArgumentNullException.ThrowIfNull(options);
        Attention.CheckOperands(op, query, key, value, rank: 4, headAxis: 1, "[batch, heads, tokens, headDim]");
        double scale = Attention.CheckOptions(op, options, query.Shape[1], query.Shape[3]);
        Op.Check(query.Shape[0] == key.Shape[0], op, nameof(key), $"key has batch {key.Shape[0]}, query has {query.Shape[0]}");
        Shape full = [query.Shape[0], query.Shape[1], query.Shape[2], key.Shape[2]];
        if (mask is not null) mask = CheckMask(op, mask, full, query);
        var call = new AttentionCall(null, null, options, scale, mask is null ? null : full);
        return Attention.Run(op, call, query, key, value, mask, [query.Shape[0], query.Shape[1], query.Shape[2]]).Output;
    }

    private static Tensor CheckMask(string op, Tensor mask, Shape full, Tensor query)
    {
        Op.Check(mask.DType == DType.Bool || mask.DType.IsFloatingPoint(), op, nameof(mask), $"mask is {mask.DType}; expected Bool (true = attend) or a floating-point type (added to the scores)");
        Op.Check(!mask.RequiresGrad, op, nameof(mask), $"masks take no gradient; pass mask.Detach()");
        int rank = mask.Shape.Rank;
        bool fits = rank <= 4;
        for (int i = 1; fits && i <= rank; i++) fits = mask.Shape[-i] == 1 || mask.Shape[-i] == full[-i];
        Op.Check(fits, op, nameof(mask), $"mask {mask.Shape} cannot be broadcast to [batch, heads, queries, keys] = {full}");
        DType wanted = mask.DType == DType.Bool ? DType.Bool : Op.Accumulator(query.DType);
        return mask.To(dtype: wanted);
    }
}
