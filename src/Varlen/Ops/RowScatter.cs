namespace Varlen.Ops;

internal interface IRowScatterKernels
{
    /// <summary>
    /// destination[indices[i]] = source[i] for rows of one type, dense in themselves and <see cref="RowGather.Stride"/> apart. Indices are
    /// Int32 on the device and differ from each other; rows whose index is negative stay behind. Takes no gradient.
    /// </summary>
    void ScatterRows(Tensor source, Tensor indices, Tensor destination);
}
