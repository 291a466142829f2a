namespace Varlen.Backends.Cpu.Attention;

/// <summary>The matrix products of one query block with one tile of keys. Whatever the window hides entirely is skipped.</summary>
internal static unsafe class BlockProducts
{
    // A tile has at most this many stretches of keys that differ in which of three vectors see them.
    private const int MaximumRuns = 8;

    /// <summary><c>tile = rows * transposed</c>: keys (or values) by queries (or output gradients).</summary>
    /// <remarks>Parts that no lane of a vector sees keep what they had.</remarks>
    internal static void Scores<V, S>(in ScoreTile scores, int key, int keys, float* rows, in AttentionShape shape, float* transposed, float* tile)
        where V : unmanaged where S : ISimd<V>
    {
        int lanes = scores.Lanes;
        for (int row = 0; row < keys; row += TileProduct.Rows)
        {
            (int first, int end) = scores.VisibleVectors(key + row, TileProduct.Rows, S.Width);
            if (first == end) continue;
            int offset = first * S.Width;
            TileProduct.Multiply<V, S, Separate>(end - first, shape.HeadDim, rows + ((long)row * shape.Stride), shape.Stride,
                transposed + offset, lanes, tile + (row * lanes) + offset, lanes, TileMode.Store, null);
        }
    }

    /// <summary><c>sums = (old sums, as the mode says) + rows^T * tile</c>: features by queries. Invisible weights in the tile are 0.</summary>
    internal static void Features<V, S>(in ScoreTile scores, int key, int keys, float* rows, in AttentionShape shape, float* tile, float* sums,
        TileMode mode, float* factors) where V : unmanaged where S : ISimd<V>
    {
        int lanes = scores.Lanes, runs;
        int* ends = stackalloc int[MaximumRuns], first = stackalloc int[MaximumRuns], end = stackalloc int[MaximumRuns];
        if (scores.SeesAll(key, keys)) runs = Whole(scores, keys, ends, first, end);
        else runs = FindRuns(scores, key, keys, S.Width, ends, first, end);
        for (int feature = 0; feature < shape.HeadDim; feature += TileProduct.Rows)
            for (int run = 0, from = 0; run < runs; from = ends[run++])
            {
                int offset = first[run] * S.Width;
                TileProduct.Multiply<V, S, Interleaved>(end[run] - first[run], ends[run] - from, rows + ((long)from * shape.Stride) + feature,
                    shape.Stride, tile + (from * lanes) + offset, lanes, sums + (feature * lanes) + offset, lanes,
                    run == 0 ? mode : TileMode.Add, factors + offset);
            }
    }

    /// <summary><c>sums += tile * rows</c>: keys by features, over the queries that see the keys.</summary>
    internal static void Keys<V, S>(in ScoreTile scores, int key, int keys, float* tile, float* rows, in AttentionShape shape, float* sums)
        where V : unmanaged where S : ISimd<V>
    {
        int lanes = scores.Lanes, vectors = shape.Stride / S.Width;
        for (int row = 0; row < keys; row += TileProduct.Rows)
        {
            (int first, int end) = scores.VisibleQueries(key + row, TileProduct.Rows);
            if (first == end) continue;
            for (int done = 0, count; done < vectors; done += count)
            {
                int left = vectors - done;
                count = left is 2 or 4 ? 2 : Math.Min(left, 3);
                int column = done * S.Width;
                TileProduct.Multiply<V, S, Separate>(count, end - first, tile + (row * lanes) + first, lanes,
                    rows + ((long)first * shape.Stride) + column, shape.Stride,
                    sums + ((long)row * shape.Stride) + column, shape.Stride, TileMode.Add, null);
            }
        }
    }

    // Stretches of keys seen by the same vectors. The first one must be seen by all, because it also prepares the sums; where it is
    // not, one stretch takes everything.
    private static int FindRuns(in ScoreTile scores, int key, int keys, int width, int* ends, int* first, int* end)
    {
        int runs = 0;
        for (int row = 0; row < keys; row += TileProduct.Rows)
        {
            (int f, int e) = scores.VisibleVectors(key + row, TileProduct.Rows, width);
            if (runs == 0 && e - f != scores.Vectors) return Whole(scores, keys, ends, first, end);
            if (runs == 0 || f != first[runs - 1] || e != end[runs - 1])
            {
                if (runs == MaximumRuns || f == e) return Whole(scores, keys, ends, first, end);
                (first[runs], end[runs]) = (f, e);
                runs++;
            }
            ends[runs - 1] = Math.Min(row + TileProduct.Rows, keys);
        }
        return runs;
    }

    private static int Whole(in ScoreTile scores, int keys, int* ends, int* first, int* end)
    {
        (ends[0], first[0], end[0]) = (keys, 0, scores.Vectors);
        return 1;
    }
}
