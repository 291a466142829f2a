namespace Varlen.Backends.Cpu;

/// <summary>
/// A product with many rows. Blocks of B are packed by all workers together and used by all; blocks of rows are handed out to
/// whoever is free. B alternates between two buffers, so one barrier per block is enough: who is early packs the next block
/// while others still multiply this one.
/// </summary>
internal unsafe struct BlockedProduct<V, S> : IParallelBody where V : unmanaged where S : ISimd<V>
{
    /// <summary>Rows of A whose packed form stays in the second-level cache.</summary>
    internal const int RowBlock = 144;
    /// <summary>Columns of B per block, and so how often packed rows of A are used.</summary>
    internal const int ColumnBlock = 1024;
    /// <summary>Rows of C kept in single precision at a time, when C is stored otherwise and K has several blocks.</summary>
    internal const int StagedRows = 2048;

    internal ThreadTeam Team;
    internal Product<V, S> Product;
    /// <summary>Whether A is packed; otherwise the kernel reads it in place.</summary>
    internal bool PackLeft;
    /// <summary>Two buffers for packed B, <see cref="RightBuffer"/> floats each.</summary>
    internal float* Right;
    /// <summary>Up to <see cref="StagedRows"/> by a column block, or null.</summary>
    internal float* Stage;

    // Counters of handed-out blocks: one in use, one being reset.
    private fixed long _next[2];

    /// <summary>Floats of one buffer for packed B.</summary>
    internal static long RightBuffer(long columns, long depth)
    {
        long width = Product<V, S>.TileColumns;
        long padded = (Math.Min(columns, ColumnBlock) + width - 1) / width * width;
        return padded * Math.Min(depth, Product<V, S>.DepthBlock);
    }

    private static long LeftBuffer
        => (RowBlock + Product<V, S>.TileRows - 1) / Product<V, S>.TileRows * (long)Product<V, S>.RowStride * Product<V, S>.DepthBlock;

    public void Invoke(int worker, int workers)
    {
        int width = Product<V, S>.TileColumns;
        long m = Product.M, n = Product.N, depthTotal = Product.K;
        float* left = PackLeft
            ? NativeScratch.Rent<float>(ScratchUse.ProductLeft, LeftBuffer)
            : null;
        float* tile = NativeScratch.Rent<float>(ScratchUse.ProductTile, (long)Product<V, S>.TileRows * width);
        long chunkRows = Stage == null ? m : StagedRows;
        int stage = 0;
        for (long column = 0; column < n; column += ColumnBlock)
        {
            long columns = Math.Min(ColumnBlock, n - column);
            long panels = (columns + width - 1) / width;
            for (long chunk = 0; chunk < m; chunk += chunkRows)
            {
                long rows = Math.Min(chunkRows, m - chunk);
                var grid = new BlockGrid(rows, panels, workers, RowBlock, Product<V, S>.TileRows);
                for (long k = 0; k < depthTotal; k += Product<V, S>.DepthBlock, stage++)
                {
                    long depth = Math.Min(Product<V, S>.DepthBlock, depthTotal - k);
                    float* right = Right + (stage & 1) * RightBuffer(n, depthTotal);
                    PackShare(worker, workers, k, depth, column, panels, right);
                    Team.Barrier(workers);
                    // Whoever still used the other counter has passed the barrier since.
                    if (worker == 0) Volatile.Write(ref _next[(stage + 1) & 1], 0);
                    long packedRows = -1;
                    for (long item; (item = Interlocked.Increment(ref _next[stage & 1]) - 1) < grid.Count;)
                    {
                        long rowBlock = item / grid.ColumnGroups.Count, group = item % grid.ColumnGroups.Count;
                        long start = chunk + grid.RowBlocks.Start(rowBlock), length = grid.RowBlocks.Length(rowBlock);
                        EvenSplit tiles = EvenSplit.OfAtMost(length, Product<V, S>.TileRows);
                        if (PackLeft && packedRows != start)
                        {
                            Product.PackLeft(start, tiles, k, depth, left);
                            packedRows = start;
                        }
                        long end = grid.ColumnGroups.Start(group) + grid.ColumnGroups.Length(group);
                        for (long panel = grid.ColumnGroups.Start(group); panel < end; panel++)
                            Panel(start, tiles, column, panel, k, depth, left, right, tile, chunk);
                    }
                }
            }
        }
    }

    private readonly void PackShare(int worker, int workers, long k, long depth, long column, long panels, float* right)
    {
        int width = Product<V, S>.TileColumns;
        EvenSplit shares = EvenSplit.Into(panels, workers);
        long first = shares.Start(worker);
        Product.PackRight(k, depth, column + first * width, shares.Length(worker), right + first * width * depth);
    }

    private readonly void Panel(
        long start, EvenSplit tiles, long blockColumn, long panel, long k, long depth, float* left, float* right, float* tile, long chunk)
    {
        int width = Product<V, S>.TileColumns;
        long column = blockColumn + panel * width;
        float* b = right + panel * width * depth;
        for (long t = 0; t < tiles.Count; t++)
        {
            long row = start + tiles.Start(t);
            float* a = PackLeft ? left + t * Product<V, S>.RowStride * depth : Product.Left(row, k);
            long aStride = PackLeft ? Product<V, S>.RowStride : Product.LdA;
            float* home = Stage == null ? tile : Stage + (row - chunk) * ColumnBlock + panel * width;
            Product.Tile(
                row, (int)tiles.Length(t), column, k, depth, PackLeft || Product.TransposeA, a, aStride, b, width,
                home, Stage == null ? width : ColumnBlock);
        }
    }
}
