namespace Varlen.Backends.Cpu;

/// <summary>How the tiles of a block column of C are grouped into the items that workers draw: blocks of rows by groups of columns.</summary>
internal readonly struct BlockGrid
{
    // Enough items per worker that a worker slowed down by another process leaves its share to the rest.
    private const long ItemsPerWorker = 4;
    private const long LeastRows = 48;

    /// <param name="rows">Rows to cut.</param>
    /// <param name="panels">Tile columns to cut.</param>
    /// <param name="workers">Who will draw.</param>
    /// <param name="mostRows">Most rows of a block.</param>
    /// <param name="tileRows">Rows of a tile.</param>
    internal BlockGrid(long rows, long panels, int workers, long mostRows, int tileRows)
    {
        long blocks = (rows + mostRows - 1) / mostRows;
        long groups = 1;
        if (workers > 1)
        {
            long wanted = ItemsPerWorker * workers;
            if (blocks < wanted) blocks = Math.Max(blocks, Math.Min(wanted, rows / LeastRows));
            blocks = RoundUp(blocks, workers);
            long tiles = (rows + tileRows - 1) / tileRows;
            if (blocks > tiles) blocks = tiles;
            if (blocks < workers) groups = Math.Min(panels, RoundUp(wanted, blocks) / blocks);
        }
        RowBlocks = EvenSplit.Into(rows, blocks);
        ColumnGroups = EvenSplit.Into(panels, groups);
    }

    internal EvenSplit RowBlocks { get; }
    internal EvenSplit ColumnGroups { get; }
    internal long Count => RowBlocks.Count * ColumnGroups.Count;

    private static long RoundUp(long value, long unit) => (value + unit - 1) / unit * unit;
}
