namespace Varlen.Ops;

/// <summary>Rows and where they go, of one type, dense in themselves and <see cref="RowGather.Stride"/> apart.</summary>
internal readonly record struct RowScatter(Tensor Source, Tensor Destination);

internal interface IRowScatterKernels
{
    /// <summary>
    /// destination[indices[i]] = source[i] of two pairs, such as keys and values, with equally many features. Indices are Int32 on the device and differ from each other;
    /// rows whose index is negative stay behind. Takes no gradient.
    /// </summary>
    void ScatterRows(RowScatter first, RowScatter second, Tensor indices);
}
