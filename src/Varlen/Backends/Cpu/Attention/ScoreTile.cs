using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Varlen.Backends.Cpu.Attention;

/// <summary>
/// The rows of one query block and what turns their products with keys into scores. Tiles are transposed: keys in rows, queries in
/// lanes, so that everything that belongs to a query is lane-wise. Scores are kept times log2(e), so that powers of two serve.
/// </summary>
internal unsafe struct ScoreTile
{
    internal const float Log2E = 1.44269504f;

    /// <summary>Queries of the block, the first of them, and vectors and lanes that hold them.</summary>
    internal int Queries, Query0, Vectors, Lanes;
    /// <summary>Lane l sees keys <c>LeftEdge + l</c> to <c>RightEdge + l</c>.</summary>
    internal long LeftEdge, RightEdge;
    /// <summary>All keys that any lane sees: first and one past the last.</summary>
    internal int FirstKey, EndKey;
    /// <summary>What q must be multiplied with before the products.</summary>
    internal float QueryScale;
    /// <summary>0, 1, 2, ... for all lanes.</summary>
    internal float* LaneIndex;

    private float _softcap, _slope, _keep;
    private long _center;
    private byte* _mask;
    private DType _maskType;
    private long _maskQueryStride, _maskKeyStride;
    private uint _threshold, _head, _key0, _key1;

    /// <summary>Whether a dropout tile is needed.</summary>
    internal readonly bool Drops => _keep != 0f;

    /// <summary>Whether anything changes the plain products besides the window.</summary>
    internal readonly bool IsModified => _softcap != 0f || _slope != 0f || _mask != null;

    /// <summary>Whether the derivative of the score by the product varies.</summary>
    internal readonly bool IsCapped => _softcap != 0f;

    /// <summary>Whether a mask may hide keys that the window shows.</summary>
    internal readonly bool IsMasked => _mask != null;

    internal static ScoreTile Create(in AttentionProblem problem, in AttentionSequence sequence, int head, int query0, int queries,
        int width, float* laneIndex)
    {
        int shift = problem.Shift(sequence);
        long center = (long)query0 + shift;
        const long Far = 1L << 40;
        var tile = new ScoreTile
        {
            Queries = queries,
            Query0 = query0,
            Vectors = (queries + width - 1) / width,
            LeftEdge = problem.Window.Left < 0 ? -Far : center - problem.Window.Left,
            RightEdge = problem.Window.Right < 0 ? Far : center + problem.Window.Right,
            LaneIndex = laneIndex,
            _center = center,
        };
        tile.Lanes = tile.Vectors * width;
        tile.FirstKey = problem.Window.Range(query0, shift, sequence.KeyLength).First;
        tile.EndKey = Math.Max(tile.FirstKey, problem.Window.Range(query0 + queries - 1, shift, sequence.KeyLength).End);
        tile.QueryScale = (float)(problem.Softcap == 0 ? problem.Scale * Log2E : problem.Scale / problem.Softcap);
        tile._softcap = (float)(problem.Softcap * Log2E);
        if (problem.AlibiSlopes != null) tile._slope = (float)problem.AlibiSlopes[head] * Log2E;
        ref readonly AttentionMask mask = ref problem.Mask;
        if (mask.Data != null)
        {
            tile._maskType = mask.DType;
            tile._maskQueryStride = mask.QueryStride;
            tile._maskKeyStride = mask.KeyStride;
            tile._mask = (byte*)mask.Data + ((sequence.Batch * mask.BatchStride) + (head * mask.HeadStride)
                + ((sequence.QueryToken + query0) * mask.QueryStride) + (sequence.KeyToken * mask.KeyStride)) * mask.DType.Size();
        }
        if (problem.Dropout > 0)
        {
            var dropout = new AttentionDropout(problem, sequence);
            tile._keep = (float)dropout.Keep;
            tile._threshold = dropout.Threshold;
            (tile._key0, tile._key1) = (dropout.Key0, dropout.Key1);
            tile._head = (uint)head;
        }
        return tile;
    }

    /// <summary>First and one-past-last vector with a lane that sees any of <paramref name="keys"/> keys from <paramref name="key"/>.</summary>
    internal readonly (int First, int End) VisibleVectors(int key, int keys, int width)
    {
        long first = Math.Max(0, key - RightEdge) / width, last = key + keys - 1 - LeftEdge;
        if (last < 0 || first >= Vectors) return (0, 0);
        return ((int)first, (int)Math.Min(Vectors, (last / width) + 1));
    }

    /// <summary>First and one-past-last query of the block that sees any of <paramref name="keys"/> keys from <paramref name="key"/>.</summary>
    internal readonly (int First, int End) VisibleQueries(int key, int keys)
    {
        long first = Math.Max(0, key - RightEdge), end = Math.Min(Queries, key + keys - LeftEdge);
        return first >= end ? (0, 0) : ((int)first, (int)end);
    }

    /// <summary>Whether every query of the block sees all of <paramref name="keys"/> keys from <paramref name="key"/>, mask aside.</summary>
    internal readonly bool SeesAll(int key, int keys) => key + keys - 1 <= RightEdge && key >= LeftEdge + Queries - 1;

    /// <summary>Turns products into scores, with minus infinity where a key is invisible.</summary>
    /// <param name="tile">Keys by lanes.</param>
    /// <param name="key0">Key of the first row.</param>
    /// <param name="keys">Rows.</param>
    /// <param name="derivative">Receives d score / d product of the same shape when capped; may be null.</param>
    internal readonly void Modify<V, S>(float* tile, int key0, int keys, float* derivative) where V : unmanaged where S : ISimd<V>
    {
        if (_softcap != 0f) Cap<V, S>(tile, keys, derivative);
        if (_slope != 0f) AddSlope<V, S>(tile, key0, keys);
        if (_mask != null) AddMask<V, S>(tile, key0, keys);
        if (!SeesAll(key0, keys)) HideOutside<V, S>(tile, key0, keys);
    }

    private readonly void Cap<V, S>(float* tile, int keys, float* derivative) where V : unmanaged where S : ISimd<V>
    {
        V cap = S.Set(_softcap), one = S.Set(1f);
        for (int i = 0; i < keys * Lanes; i += S.Width)
        {
            V t = VectorMath.Tanh<V, S>(S.Load(tile + i));
            S.Store(tile + i, S.Multiply(cap, t));
            if (derivative != null) S.Store(derivative + i, S.Subtract(one, S.Multiply(t, t)));
        }
    }

    private readonly void AddSlope<V, S>(float* tile, int key0, int keys) where V : unmanaged where S : ISimd<V>
    {
        V slope = S.Set(-_slope);
        for (int row = 0; row < keys; row++)
        {
            V distance = S.Set((float)(_center - (key0 + row)));
            for (int lane = 0; lane < Lanes; lane += S.Width, tile += S.Width)
                S.Store(tile, S.Fma(slope, S.Abs(S.Add(distance, S.Load(LaneIndex + lane))), S.Load(tile)));
        }
    }

    private readonly void AddMask<V, S>(float* tile, int key0, int keys) where V : unmanaged where S : ISimd<V>
    {
        V hidden = S.Set(float.NegativeInfinity);
        float* row = stackalloc float[Lanes];
        new Span<float>(row, Lanes).Clear();
        for (int key = key0; key < key0 + keys; key++)
        {
            long offset = key * _maskKeyStride;
            // Key masks, those of padding, are the same for all queries.
            if (_maskQueryStride == 0) new Span<float>(row, Lanes).Fill(MaskValue(offset));
            else
                for (int query = 0; query < Queries; query++) row[query] = MaskValue(offset + query * _maskQueryStride);
            for (int lane = 0; lane < Lanes; lane += S.Width, tile += S.Width)
            {
                // Minus infinity hides whatever the product was, NaN included.
                V value = S.Load(row + lane);
                S.Store(tile, S.SelectEqual(value, hidden, hidden, S.Add(S.Load(tile), value)));
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly float MaskValue(long offset)
        => _maskType == DType.Bool ? (_mask[offset] != 0 ? 0f : float.NegativeInfinity) : ((float*)_mask)[offset] * Log2E;

    private readonly void HideOutside<V, S>(float* tile, int key0, int keys) where V : unmanaged where S : ISimd<V>
    {
        V hidden = S.Set(float.NegativeInfinity);
        for (int key = key0; key < key0 + keys; key++)
        {
            if (SeesAll(key, 1))
            {
                tile += Lanes;
                continue;
            }
            V first = S.Set(Math.Clamp(key - RightEdge, -1, Lanes)), last = S.Set(Math.Clamp(key - LeftEdge, -1, Lanes));
            for (int lane = 0; lane < Lanes; lane += S.Width, tile += S.Width)
            {
                V index = S.Load(LaneIndex + lane);
                V score = S.SelectLessOrEqual(first, index, S.Load(tile), hidden);
                S.Store(tile, S.SelectLessOrEqual(index, last, score, hidden));
            }
        }
    }

    /// <summary>
    /// Fills a tile with what dropout multiplies each link by: 0 or 1 / (1 - p). The first key is a multiple of 4, and rows up to
    /// the next multiple of 4 are written.
    /// </summary>
    internal readonly void FillKeep(float* keep, int key0, int keys)
    {
        for (int row = 0; row < keys; row += 4, keep += 4 * Lanes)
        {
            Philox.Rows((uint)(key0 + row) >> 2, (uint)Query0, _head, 0, _key0, _key1, Lanes, (uint*)keep, Lanes);
            // The words become factors in place.
            for (int i = 0; i < 4 * Lanes; i += Vector128<uint>.Count)
            {
                Vector128<uint> dropped = Vector128.LessThan(Vector128.Load((uint*)keep + i), Vector128.Create(_threshold));
                Vector128.AndNot(Vector128.Create(_keep), dropped.AsSingle()).Store(keep + i);
            }
        }
    }
}
