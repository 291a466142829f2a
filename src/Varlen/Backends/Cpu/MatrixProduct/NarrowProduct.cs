namespace Varlen.Backends.Cpu;

/// <summary>
/// A product with few rows, as in generation: bound by reading B once. Workers take groups of columns and need nothing from
/// each other; B is packed next to its use, or read in place where it lies right and is needed only once.
/// </summary>
internal unsafe struct NarrowProduct<V, S> : IParallelItems where V : unmanaged where S : ISimd<V>
{
    /// <summary>Most tiles of columns of an item: packed together, they are read in longer runs.</summary>
    internal const int GroupTiles = 4;

    internal Product<V, S> Product;
    /// <summary>Rows of op(A) in single precision.</summary>
    internal float* A;
    internal long AStride;
    internal bool Interleaved;
    /// <summary>Tiles of columns, cut into items.</summary>
    internal EvenSplit Groups;

    public readonly void Invoke(long item, int worker)
    {
        int width = Product<V, S>.TileColumns;
        long first = Groups.Start(item), tiles = Groups.Length(item), column = first * width;
        bool inPlace = Product.RightIsReadable && Product.M <= Product<V, S>.TileRows && Product.N - column >= tiles * width;
        float* packed = inPlace ? null : NativeScratch.Rent<float>(ScratchUse.ProductStrip, Product<V, S>.DepthBlock * tiles * width);
        long homeStride = tiles * width;
        float* home = NativeScratch.Rent<float>(ScratchUse.ProductTile, Product.M * homeStride);
        EvenSplit rows = EvenSplit.OfAtMost(Product.M, Product<V, S>.TileRows);
        // K = 0 still makes one pass, which applies Beta and Bias.
        for (long k = 0; k == 0 || k < Product.K; k += Product<V, S>.DepthBlock)
        {
            long depth = Math.Min(Product<V, S>.DepthBlock, Product.K - k);
            if (!inPlace) Product.PackRight(k, depth, column, tiles, packed);
            for (long tile = 0; tile < tiles; tile++)
            {
                long at = tile * width;
                float* b = inPlace ? Product.Right(k, column + at) : packed + at * depth;
                for (long index = 0; index < rows.Count; index++)
                {
                    long row = rows.Start(index);
                    float* a = A + (Interleaved ? k * AStride + row : row * AStride + k);
                    Product.Tile(
                        row, (int)rows.Length(index), column + at, k, depth, Interleaved, a, AStride, b, inPlace ? Product.LdB : width,
                        home + row * homeStride + at, homeStride);
                }
            }
        }
    }
}
