namespace Varlen.Nn;

public static partial class Functional
{
    /// <summary>
    /// Attention within each item of jagged tensors, as PyTorch's <c>scaled_dot_product_attention</c> computes it on nested tensors: no padding
    /// is made, and no item sees another.
    /// </summary>
    /// <param name="query">Queries; items are <c>[length, queryHeads, headDim]</c>.</param>
    /// <param name="key">Keys; as many items, <c>[length, keyHeads, headDim]</c>, of any length.</param>
    /// <param name="value">Values, shaped like <paramref name="key"/>.</param>
    /// <param name="isCausal">Query i sees keys 0..i of its item (aligned top-left).</param>
    /// <param name="scale">Factor of the scores; <c>1 / sqrt(headDim)</c> when null.</param>
    /// <param name="dropout">Dropout of attention links; off when null.</param>
    /// <returns>Items like those of <paramref name="query"/>, under its layout.</returns>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit; nothing has been computed.</exception>
    public static JaggedTensor ScaledDotProductAttention(JaggedTensor query, JaggedTensor key, JaggedTensor value, bool isCausal = false, double? scale = null, AttentionDropout? dropout = null)
        => ScaledDotProductAttention(query, key, value, new AttentionOptions
        {
            Window = isCausal ? AttentionWindow.Causal : AttentionWindow.Full,
            Alignment = AttentionAlignment.TopLeft,
            Scale = scale,
            Dropout = dropout,
        });

    /// <summary>Attention within each item of jagged tensors.</summary>
    /// <param name="query">Queries; items are <c>[length, queryHeads, headDim]</c>.</param>
    /// <param name="key">Keys; as many items, <c>[length, keyHeads, headDim]</c>, of any length.</param>
    /// <param name="value">Values, shaped like <paramref name="key"/>.</param>
    /// <param name="options">Window, alignment, scale and the rest.</param>
    /// <returns>Items like those of <paramref name="query"/>, under its layout.</returns>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit; nothing has been computed.</exception>
    public static JaggedTensor ScaledDotProductAttention(JaggedTensor query, JaggedTensor key, JaggedTensor value, AttentionOptions options)
    {
        ArgumentNullException.ThrowIfNull(query);
        ArgumentNullException.ThrowIfNull(key);
        ArgumentNullException.ThrowIfNull(value);
        if (!value.Layout.CuSeqlens.SequenceEqual(key.Layout.CuSeqlens))
            throw new ArgumentException($"{nameof(ScaledDotProductAttention)}: value has {value.Layout}, key has {key.Layout}; their items must be of equal lengths", nameof(value));
        Tensor attended = VarlenAttention(query.Values, key.Values, value.Values, query.Layout, key.Layout, options);
        return new JaggedTensor(attended, query.Layout);
    }
}
