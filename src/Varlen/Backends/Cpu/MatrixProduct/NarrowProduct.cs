namespace Varlen.Backends.Cpu;

/// <summary>
/// A product with few rows, as in generation: bound by reading B once. Workers take strips of columns and need nothing from
/// each other; B is read in place where it lies right, and otherwise packed strip by strip, next to its use.
/// </summary>
internal unsafe struct NarrowProduct<V, S> : IParallelItems where V : unmanaged where S : ISimd<V>
{
    internal Product<V, S> Product;
    /// <summary>Rows of op(A) in single precision.</summary>
    internal float* A;
    internal long AStride;
    internal bool Interleaved;

    internal readonly long Items => (Product.N + Product<V, S>.TileColumns - 1) / Product<V, S>.TileColumns;

    public readonly void Invoke(long item, int worker)
    {
        int width = Product<V, S>.TileColumns;
        long column = item * width;
        bool inPlace = Product.RightIsReadable && Product.N - column >= width;
        float* packed = inPlace ? null
            : NativeScratch.Rent<float>(ScratchUse.ProductStrip, Product<V, S>.DepthBlock * (long)width);
        float* tile = NativeScratch.Rent<float>(ScratchUse.ProductTile, Product.M * width);
        // K = 0 still makes one pass, which applies Beta and Bias.
        for (long k = 0; k == 0 || k < Product.K; k += Product<V, S>.DepthBlock)
        {
            long depth = Math.Min(Product<V, S>.DepthBlock, Product.K - k);
            if (!inPlace) Product.PackRight(k, depth, column, 1, packed);
            EvenSplit rows = EvenSplit.OfAtMost(Product.M, Product<V, S>.TileRows);
            for (long index = 0; index < rows.Count; index++)
            {
                long row = rows.Start(index);
                float* a = A + (Interleaved ? k * AStride + row : row * AStride + k);
                Product.Tile(
                    row, (int)rows.Length(index), column, k, depth, Interleaved, a, AStride,
                    inPlace ? Product.Right(k, column) : packed, inPlace ? Product.LdB : width, tile + row * width, width);
            }
        }
    }
}
