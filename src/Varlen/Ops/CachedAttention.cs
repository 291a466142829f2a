using Varlen.Ops;

namespace Varlen.Nn;

public static partial class Functional
{
    /// <summary>
    /// Attention of new tokens to keys and values that are kept in slots of equal size, of which each sequence has filled a part: decoding
    /// with a cache. Keys beyond a sequence's length are never read. The job of FlashAttention's <c>seqused_k</c>.
    /// </summary>
    /// <param name="query">Queries of the new tokens, <c>[tokens, queryHeads, headDim]</c>.</param>
    /// <param name="keys">The cache of keys, <c>[sequences, capacity, keyHeads, headDim]</c>, the new tokens' included; dense.</param>
    /// <param name="values">The cache of values, shaped like <paramref name="keys"/>.</param>
    /// <param name="layout">Where each sequence's new tokens lie.</param>
    /// <param name="keyLengths">Filled tokens of each slot.</param>
    /// <param name="options">Window, alignment, scale and the rest; defaults when null.</param>
    /// <returns><c>[tokens, queryHeads, headDim]</c>. It takes no gradient.</returns>
    /// <exception cref="ArgumentException">Shapes, types, devices or lengths do not fit; nothing has been computed.</exception>
    /// <exception cref="InvalidOperationException">A gradient would be needed.</exception>
    public static Tensor CachedAttention(Tensor query, Tensor keys, Tensor values, SequenceLayout layout, ReadOnlySpan<int> keyLengths, AttentionOptions? options = null)
    {
        const string op = nameof(CachedAttention);
        ArgumentNullException.ThrowIfNull(query);
        ArgumentNullException.ThrowIfNull(keys);
        ArgumentNullException.ThrowIfNull(values);
        ArgumentNullException.ThrowIfNull(layout);
        options ??= new AttentionOptions();
        Op.Check(options.Dropout is null, op, nameof(options), $"cached keys are for decoding, which drops no links");
        if (Op.Records(query, keys, values)) throw new InvalidOperationException($"{op} takes no gradient; call it inside of GradMode.NoGrad()");
        Op.Check(keys.Shape.Rank == 4 && keys.IsContiguous, op, nameof(keys), $"keys is {keys.Shape}; expected a dense [sequences, capacity, heads, headDim]");
        Op.Check(values.Shape == keys.Shape && values.IsContiguous, op, nameof(values), $"values is {values.Shape}, keys is {keys.Shape}; they must be equal and dense");
        (int sequences, int capacity) = (keys.Shape[0], keys.Shape[1]);
        Op.Check(layout.Count == sequences, op, nameof(layout), $"the layout has {layout.Count} sequences, the cache {sequences}");
        Op.Check(keyLengths.Length == sequences, op, nameof(keyLengths), $"there are {keyLengths.Length} lengths for {sequences} sequences");
        var starts = new int[sequences];
        for (int i = 0; i < sequences; i++)
        {
            Op.Check(keyLengths[i] >= 0 && keyLengths[i] <= capacity, op, nameof(keyLengths), $"keyLengths[{i}] = {keyLengths[i]} is not in 0..{capacity}, the cache's capacity");
            starts[i] = checked(i * capacity);
        }
        Tensor key = keys.View(sequences * capacity, keys.Shape[2], keys.Shape[3]), value = values.View(sequences * capacity, keys.Shape[2], keys.Shape[3]);
        Attention.CheckOperands(op, query, key, value, rank: 3, headAxis: 1, "[tokens, heads, headDim]");
        double scale = Attention.CheckOptions(op, options, query.Shape[1], query.Shape[2]);
        CheckTokens(op, query, layout, options.TailPolicy, nameof(query));
        using SequenceLayout keyLayout = SequenceLayout.FromLengths(keyLengths);
        var call = new AttentionCall(layout, keyLayout, options, scale, KeyStarts: starts);
        return Attention.Run(op, call, query, key, value, null, [query.Shape[1], query.Shape[0]]).Output;
    }
}
