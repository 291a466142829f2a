namespace Varlen.Backends.Cpu;

/// <summary>A matrix product as the loops around the micro-kernel see it: addresses of blocks, and tiles of C in any storage format.</summary>
internal unsafe struct Product<V, S> where V : unmanaged where S : ISimd<V>
{
    /// <summary>
    /// Length of one run of the micro-kernel. Part of the result's definition: a chain is cut every so many k, in every variant.
    /// </summary>
    internal const int DepthBlock = 512;

    // Few enough that their destinations, a power of two apart, share a set of the first-level cache.
    private const int AdjacentStrips = 4;

    private GemmArguments _a;
    private readonly float _alpha, _beta;
    private readonly float* _bias;

    /// <param name="arguments">The product.</param>
    /// <param name="bias">Its bias in single precision, readable up to a whole tile, or null.</param>
    internal Product(in GemmArguments arguments, float* bias)
    {
        _a = arguments;
        _alpha = (float)arguments.Alpha;
        _beta = (float)arguments.Beta;
        _bias = bias;
    }

    /// <summary>Most rows of a tile: as many as the machine's vector registers hold.</summary>
    internal static int TileRows => MicroKernel.MaxRows(S.Width);

    /// <summary>Columns of a tile.</summary>
    internal static int TileColumns => 2 * S.Width;

    /// <summary>
    /// Floats between two k of packed rows: whole vectors, so that no store crosses a cache line, though 12 rows leave four unused.
    /// </summary>
    internal static int RowStride => TileRows == 12 ? 16 : 8;

    internal readonly long M => _a.M;
    internal readonly long N => _a.N;
    internal readonly long K => _a.K;

    /// <summary>Whether the kernel can read the rows of A where they are, and how.</summary>
    internal readonly bool LeftIsFloat => _a.AType == DType.Float32;

    internal readonly bool TransposeA => _a.TransposeA;
    internal readonly bool TransposeB => _a.TransposeB;

    /// <summary>Whether the kernel can read full tiles of B where they are.</summary>
    internal readonly bool RightIsReadable => !_a.TransposeB && _a.BType == DType.Float32;

    /// <summary>Whether C is stored in another precision than it is accumulated in.</summary>
    internal readonly bool ResultIsStaged => _a.CType != DType.Float32;

    internal readonly long LdA => _a.LdA;
    internal readonly long LdB => _a.LdB;

    internal readonly float* Left(long row, long k) => (float*)_a.A + (_a.TransposeA ? k * _a.LdA + row : row * _a.LdA + k);
    internal readonly float* Right(long k, long column) => (float*)_a.B + k * _a.LdB + column;

    /// <summary>Packs the rows of op(A) from <paramref name="row"/> on, one strip for each tile.</summary>
    internal readonly void PackLeft(long row, EvenSplit tiles, long k, long depth, float* destination)
    {
        int size = _a.AType.Size();
        byte* source = (byte*)_a.A + (_a.TransposeA ? k * _a.LdA + row : row * _a.LdA + k) * size;
        long tile = 0;
        if (_a.TransposeA && RowStride == 16)
        {
            Span<long> strips = stackalloc long[AdjacentStrips];
            while (tile < tiles.Count)
            {
                int count = (int)Math.Min(AdjacentStrips, tiles.Count - tile);
                for (int i = 0; i < count; i++) strips[i] = tiles.Start(tile + i);
                // The last strips at the matrix's edge cannot be read in whole vectors.
                while (count > 0 && row + strips[count - 1] + 16 > _a.M) count--;
                if (count == 0) break;
                Packing.PackAdjacent(
                    _a.AType, source, _a.LdA, strips[..count], depth, destination + tile * RowStride * depth, RowStride, RowStride * depth);
                tile += count;
            }
        }
        for (; tile < tiles.Count; tile++)
        {
            long first = tiles.Start(tile);
            Packing.Pack(
                _a.AType, source + first * (_a.TransposeA ? 1 : _a.LdA) * size, _a.LdA, !_a.TransposeA, (int)tiles.Length(tile),
                _a.M - row - first, depth, destination + tile * RowStride * depth, RowStride);
        }
    }

    /// <summary>Packs columns of op(B) from <paramref name="column"/> on, one strip for each tile.</summary>
    internal readonly void PackRight(long k, long depth, long column, long tiles, float* destination)
    {
        int size = _a.BType.Size();
        byte* source = (byte*)_a.B + (_a.TransposeB ? column * _a.LdB + k : k * _a.LdB + column) * size;
        long tile = 0;
        if (!_a.TransposeB && TileColumns % 16 == 0)
        {
            long whole = Math.Min(tiles, (_a.N - column) / TileColumns);
            Span<long> strips = stackalloc long[AdjacentStrips];
            while (tile < whole)
            {
                int count = (int)Math.Min(AdjacentStrips, whole - tile);
                for (int i = 0; i < count; i++) strips[i] = (tile + i) * TileColumns;
                Packing.PackAdjacent(
                    _a.BType, source, _a.LdB, strips[..count], depth, destination + tile * TileColumns * depth, TileColumns, TileColumns * depth);
                tile += count;
            }
        }
        for (; tile < tiles; tile++)
        {
            long first = tile * TileColumns, left = _a.N - column - first;
            Packing.Pack(
                _a.BType, source + first * (_a.TransposeB ? _a.LdB : 1) * size, _a.LdB, _a.TransposeB, (int)Math.Min(TileColumns, left), left,
                depth, destination + tile * TileColumns * depth, TileColumns);
        }
    }

    /// <summary>Adds one block of k to a tile of C.</summary>
    /// <param name="row">First row of the tile.</param>
    /// <param name="rows">Its rows.</param>
    /// <param name="column">Its first column.</param>
    /// <param name="k">Start of the block.</param>
    /// <param name="depth">Length of the block.</param>
    /// <param name="interleaved">Layout of the rows, see <see cref="IRowLayout"/>.</param>
    /// <param name="a">The tile's rows at <paramref name="k"/>.</param>
    /// <param name="aStride">Their stride.</param>
    /// <param name="b">The tile's columns at <paramref name="k"/>.</param>
    /// <param name="bStride">Their stride.</param>
    /// <param name="home">Where a staged tile lives; kept from one block of k to the next if there are several.</param>
    /// <param name="homeStride">Floats between its rows.</param>
    internal readonly void Tile(
        long row, int rows, long column, long k, long depth, bool interleaved, float* a, long aStride, float* b, long bStride,
        float* home, long homeStride)
    {
        bool first = k == 0, last = k + depth >= _a.K;
        int columns = (int)Math.Min(TileColumns, _a.N - column);
        var target = new TileTarget
        {
            Alpha = _alpha, Beta = first ? _beta : 1, Accumulate = !first || _beta != 0, Bias = last && _bias != null ? _bias + column : null,
        };
        byte* c = (byte*)_a.C + (row * _a.LdC + column) * _a.CType.Size();
        if (columns == TileColumns && !ResultIsStaged)
        {
            target.C = (float*)c;
            target.Stride = _a.LdC;
            MicroKernel.Multiply<V, S>(rows, interleaved, depth, a, aStride, b, bStride, target);
            return;
        }
        target.C = home;
        target.Stride = homeStride;
        if (target.Accumulate && (first || !ResultIsStaged)) TileStore.Load(_a.CType, c, _a.LdC, rows, columns, home, homeStride);
        MicroKernel.Multiply<V, S>(rows, interleaved, depth, a, aStride, b, bStride, target);
        if (last || !ResultIsStaged) TileStore.Store(_a.CType, home, homeStride, rows, columns, c, _a.LdC);
    }
}
