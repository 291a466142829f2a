namespace Varlen.Data;

/// <summary>
/// How the rows of a batch attend to each other: padded, padded but for attention, jagged, packed, under a block-diagonal mask or under a dense one. A model computes
/// everything else row by row and asks its batch for this, so one model runs under every strategy and gives the same results.
/// </summary>
public abstract class AttentionStrategy : IDisposable
{
    /// <summary>Attention of one layer.</summary>
    /// <param name="query">Queries of all rows of the batch, <c>[rows, heads, headDim]</c>; strided views are read in place.</param>
    /// <param name="key">Keys, <c>[rows, keyHeads, headDim]</c>.</param>
    /// <param name="value">Values, shaped like <paramref name="key"/>.</param>
    /// <param name="layer">What the layer asks for.</param>
    /// <returns><c>[rows, heads, headDim]</c>; dense. Rows that are padding hold finite values of no meaning.</returns>
    /// <exception cref="ArgumentException">Shapes or types do not fit the batch.</exception>
    public abstract Tensor Attend(Tensor query, Tensor key, Tensor value, AttentionLayer layer);

    /// <inheritdoc cref="Attend(Tensor, Tensor, Tensor, AttentionLayer)"/>
    /// <param name="query">Queries of all rows of the batch, <c>[rows, heads, headDim]</c>.</param>
    /// <param name="key">Keys, <c>[rows, keyHeads, headDim]</c>.</param>
    /// <param name="value">Values, shaped like <paramref name="key"/>.</param>
    /// <param name="causal">Whether a token sees only itself and what is before it, or its whole sequence.</param>
    public Tensor Attend(Tensor query, Tensor key, Tensor value, bool causal) => Attend(query, key, value, new AttentionLayer(0, causal));

    /// <summary>The layouts within which attention runs on all rows, one for causal layers and two for others; null when there is more to it than layouts.</summary>
    internal virtual (SequenceLayout Causal, SequenceLayout Queries, SequenceLayout Keys)? Layouts => null;

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Releases masks and layouts that the strategy made.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }

    private protected static AttentionOptions Options(AttentionLayer layer, AttentionAlignment alignment = AttentionAlignment.BottomRight) => new()
    {
        Window = layer.Window,
        Alignment = alignment,
        Scale = layer.Scale,
        Dropout = layer.Dropout,
    };
}

/// <summary>What one layer of a model asks of attention.</summary>
/// <param name="Index">Number of the layer, from 0.</param>
/// <param name="Causal">Whether a token sees only itself and what is before it, or its whole sequence.</param>
/// <param name="Scale">Factor of the scores; <c>1 / sqrt(headDim)</c> when null.</param>
/// <param name="Dropout">Dropout of attention links; off when null.</param>
/// <param name="Previous">Where <paramref name="Causal"/>, how many tokens before itself a token sees; all when null.</param>
public readonly record struct AttentionLayer(int Index, bool Causal, double? Scale = null, AttentionDropout? Dropout = null, int? Previous = null)
{
    /// <summary>The keys that a query sees.</summary>
    public AttentionWindow Window => !Causal ? AttentionWindow.Full : Previous is { } previous ? AttentionWindow.SlidingCausal(previous) : AttentionWindow.Causal;
}
