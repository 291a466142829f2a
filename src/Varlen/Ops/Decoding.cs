namespace Varlen.Ops;

/// <summary>Where the keys of rows lie, each row one query of a sequence of its own, as the device knows it.</summary>
/// <param name="Lengths">Int32 <c>[rows]</c>: keys of each, the query's own included; 0 for a row that is nothing.</param>
/// <param name="Pages">Int32 <c>[rows, pages]</c>: the pages of each, in order.</param>
/// <param name="PageSize">Keys of a page.</param>
/// <param name="MostKeys">Most keys that a row will have.</param>
internal sealed record DecodeTable(Tensor Lengths, Tensor Pages, int PageSize, int MostKeys);

internal interface IDecodingKernels
{
    /// <summary>
    /// Attention of one query of each row to keys on pages, in a step that may be recorded: the host does not know the lengths. A row's bits are those of
    /// <see cref="IAttentionKernels.AttentionForward"/>; rows without keys become 0.
    /// </summary>
    /// <param name="query"><c>[rows, heads, headDim]</c>, features dense.</param>
    /// <param name="keys">The pages one after the other, <c>[tokens, keyHeads, headDim]</c>, dense.</param>
    /// <param name="values">Likewise.</param>
    /// <param name="table">Where the keys lie.</param>
    /// <param name="options">Window and alignment.</param>
    /// <param name="scale">Factor of the scores.</param>
    /// <param name="output">Shaped like <paramref name="query"/>, dense.</param>
    void Decode(Tensor query, Tensor keys, Tensor values, DecodeTable table, AttentionOptions options, double scale, Tensor output);
}

/// <summary>Attention of a decoding step.</summary>
internal static class Decoding
{
    /// <inheritdoc cref="IDecodingKernels.Decode"/>
    public static Tensor Run(Tensor query, Tensor keys, Tensor values, DecodeTable table, AttentionOptions options)
    {
        const string op = "VarlenAttention";
        var kernels = Op.Require<IDecodingKernels>(op, query, keys, values, table.Lengths, table.Pages);
        query = Attention.DenseFeatures(query);
        Tensor output = Op.Like(query);
        kernels.Decode(query, keys, values, table, options, Attention.CheckOptions(op, options, query.Shape[1], query.Shape[2]), output);
        return output;
    }
}
