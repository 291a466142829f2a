namespace Varlen.Backends.Cpu.Attention;

/// <summary>Tile sizes. They follow from the head dimension and the vector width alone, never from the batch, so that bits do not.</summary>
internal readonly struct AttentionShape
{
    /// <summary>Three vectors of queries: with 8 rows, 24 accumulators and 28 of 32 registers.</summary>
    internal const int VectorsPerBlock = 3;

    // Keys, values and, in the backward pass, their gradients stay in the second-level cache.
    private const int ForwardChunkFloats = 65536, BackwardChunkFloats = 32768;

    internal AttentionShape(int headDim, int width)
    {
        HeadDim = headDim;
        Stride = (headDim + 15) / 16 * 16;
        Block = VectorsPerBlock * width;
        ForwardChunk = ForwardChunkFloats / Stride;
        BackwardChunk = BackwardChunkFloats / Stride;
    }

    /// <summary>Features of a row, and the row length in scratch: padded to whole vectors of any width.</summary>
    internal int HeadDim { get; }

    /// <inheritdoc cref="HeadDim"/>
    internal int Stride { get; }

    /// <summary>Queries of a block.</summary>
    internal int Block { get; }

    /// <summary>Keys whose rows are in scratch at a time; a multiple of every tile.</summary>
    internal int ForwardChunk { get; }

    /// <inheritdoc cref="ForwardChunk"/>
    internal int BackwardChunk { get; }

    /// <summary>Rounds keys or features up to whole tiles of the product.</summary>
    internal static int RoundUp(int rows) => (rows + TileProduct.Rows - 1) / TileProduct.Rows * TileProduct.Rows;
}
