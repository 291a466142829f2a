using System.Runtime.CompilerServices;

namespace Varlen.Backends.Cpu.Attention;

/// <summary>The forward pass, one task at a time.</summary>
/// <remarks>
/// Per block of queries: S^T = K Q^T, a running softmax along the rows of S^T, and O^T = V^T P^T. Every statistic is lane-wise,
/// keys and values need no transposition, and Q is transposed once per block.
/// </remarks>
internal unsafe struct ForwardItems<V, S> : IParallelItems where V : unmanaged where S : ISimd<V>
{
    /// <summary>Query blocks whose unfinished state is kept while the chunks of a long key sequence go by.</summary>
    internal const int LongestWithState = 10;

    // Long enough to amortise the rescaling of O, short enough to stay in the first-level cache with its keys.
    private const int KeysPerTile = 128;

    internal AttentionProblem Problem;
    internal AttentionShape Shape;
    internal AttentionOperand Query, Key, Value, Output, LogSumExp;
    internal AttentionUnit* Units;
    internal int* TaskEnds;

    public void Invoke(long item, int worker)
    {
        AttentionScratch scratch = AttentionScratch.OfThisThread;
        for (int unit = item == 0 ? 0 : TaskEnds[item - 1]; unit < TaskEnds[item]; unit++)
        {
            Prefetch(Units[unit]);
            for (int head = 0; head < Units[unit].Heads; head++)
                RunHead(scratch, Units[unit], Units[unit].Head + head);
        }
    }

    private readonly void Prefetch(in AttentionUnit unit)
    {
        if (unit.Heads == 1) return;
        ref readonly AttentionSequence sequence = ref Problem.Sequences[unit.Sequence];
        int group = Problem.QueryHeads / Problem.KeyHeads, dim = Shape.HeadDim;
        for (int key = 0, count; key < sequence.KeyLength; key += count)
        {
            count = sequence.Together(key);
            OperandRows.Prefetch(Key, sequence.Batch, sequence.TokenOf(key), unit.Head, unit.Heads, count, dim);
            OperandRows.Prefetch(Value, sequence.Batch, sequence.TokenOf(key), unit.Head, unit.Heads, count, dim);
        }
        OperandRows.Prefetch(Query, sequence.Batch, sequence.QueryToken, unit.Head * group, unit.Heads * group, sequence.QueryLength, dim);
        OperandRows.Prefetch(Output, sequence.Batch, sequence.QueryToken, unit.Head * group, unit.Heads * group, sequence.QueryLength, dim);
    }

    private struct Buffers
    {
        public float* Keys, Values, Rows, QueryT, Tile, Keep, LaneIndex, Factors, States;
        public long StateSize;
    }

    private void RunHead(AttentionScratch scratch, in AttentionUnit unit, int keyHead)
    {
        ref readonly AttentionSequence sequence = ref Problem.Sequences[unit.Sequence];
        int group = Problem.QueryHeads / Problem.KeyHeads, shift = Problem.Shift(sequence);
        int firstKey = Problem.Window.Range(unit.First, shift, sequence.KeyLength).First;
        int endKey = Problem.Window.Range(unit.End - 1, shift, sequence.KeyLength).End;
        firstKey = firstKey / TileProduct.Rows * TileProduct.Rows;
        int chunk = Shape.ForwardChunk;
        int firstChunk = firstKey / chunk, endChunk = Math.Max(firstChunk + 1, (endKey + chunk - 1) / chunk);
        int blocks = (unit.End - unit.First + Shape.Block - 1) / Shape.Block;
        bool whole = endChunk - firstChunk == 1;
        Buffers buffers = Reserve(scratch, AttentionShape.RoundUp(Math.Min(chunk, endKey - firstKey)), whole ? 1 : blocks);

        // Keys that fit serve all heads of the group; longer ones go by once per head, past the states of all blocks.
        int together = whole ? group : 1;
        for (int head = keyHead * group; head < (keyHead + 1) * group; head += together)
            for (int c = firstChunk; c < endChunk; c++)
            {
                int key0 = Math.Max(c * chunk, firstKey), keyEnd = Math.Min((c + 1) * chunk, endKey);
                if (!LoadKeys(sequence, keyHead, key0, keyEnd, buffers) && !Problem.SeesAll)
                {
                    // A NaN times a weight of 0 is NaN: rows that do not see it must not multiply it at all. No row is done yet.
                    for (int h = keyHead * group; h < (keyHead + 1) * group; h++)
                        AttentionReference.ForwardRows(Problem, Query, Key, Value, Output, LogSumExp, sequence, h, unit.First, unit.End);
                    return;
                }
                for (int h = head; h < head + together; h++)
                    for (int block = 0; block < blocks; block++)
                    {
                        int query0 = unit.First + (block * Shape.Block);
                        ScoreTile tile = ScoreTile.Create(Problem, sequence, h, query0, Math.Min(Shape.Block, unit.End - query0),
                            S.Width, buffers.LaneIndex);
                        RunBlock(sequence, h, tile, key0, keyEnd, c == firstChunk, c == endChunk - 1,
                            buffers, buffers.States + (whole ? 0 : block * buffers.StateSize));
                    }
            }
    }

    private readonly Buffers Reserve(AttentionScratch scratch, int keys, int states)
    {
        int block = Shape.Block, tile = (KeysPerTile + TileProduct.Rows) * block;
        // A state is O^T, and per lane the running maximum and sum.
        long state = ((long)Shape.Stride + 2) * block;
        long keyFloats = (long)keys * Shape.Stride, rows = (long)block * Shape.Stride;
        scratch.Begin((2 * keyFloats) + (2 * rows) + (2 * tile) + (2 * block) + (states * state), 9);
        var buffers = new Buffers
        {
            Keys = scratch.Take(keyFloats),
            Values = scratch.Take(keyFloats),
            Rows = scratch.Take(rows),
            QueryT = scratch.Take(rows),
            Tile = scratch.Take(tile),
            Keep = scratch.Take(tile),
            LaneIndex = scratch.Take(block),
            Factors = scratch.Take(block),
            States = scratch.Take(states * state),
            StateSize = state,
        };
        for (int lane = 0; lane < block; lane++) buffers.LaneIndex[lane] = lane;
        return buffers;
    }

    // Whether all of them are finite.
    private readonly bool LoadKeys(in AttentionSequence sequence, int head, int key0, int keyEnd, in Buffers buffers)
    {
        int keys = Math.Max(keyEnd - key0, 0), padded = AttentionShape.RoundUp(keys);
        for (int done = 0, count; done < keys; done += count)
        {
            count = Math.Min(keys - done, sequence.Together(key0 + done));
            long token = sequence.TokenOf(key0 + done), at = (long)done * Shape.Stride;
            OperandRows.Load<V, S>(Key, sequence.Batch, token, head, count, count, Shape.HeadDim, Shape.Stride, buffers.Keys + at);
            OperandRows.Load<V, S>(Value, sequence.Batch, token, head, count, count, Shape.HeadDim, Shape.Stride, buffers.Values + at);
        }
        AttentionScratch.Clear(buffers.Keys + ((long)keys * Shape.Stride), (long)(padded - keys) * Shape.Stride);
        AttentionScratch.Clear(buffers.Values + ((long)keys * Shape.Stride), (long)(padded - keys) * Shape.Stride);
        long floats = (long)keys * Shape.Stride;
        return OperandRows.AllFinite<V, S>(buffers.Keys, floats) && OperandRows.AllFinite<V, S>(buffers.Values, floats);
    }

    private readonly void RunBlock(in AttentionSequence sequence, int head, in ScoreTile scores, int chunk0, int chunkEnd,
        bool first, bool last, in Buffers buffers, float* outputT)
    {
        int lanes = scores.Lanes;
        float* maximum = outputT + (Shape.Stride * lanes);
        float* sum = maximum + lanes;
        if (first)
        {
            new Span<float>(outputT, Shape.Stride * lanes).Clear();
            new Span<float>(maximum, lanes).Fill(float.NegativeInfinity);
            new Span<float>(sum, lanes).Clear();
        }
        int from = Math.Max(scores.FirstKey / TileProduct.Rows * TileProduct.Rows, chunk0), end = Math.Min(scores.EndKey, chunkEnd);
        if (from < end)
        {
            OperandRows.Load<V, S>(Query, sequence.Batch, sequence.QueryToken + scores.Query0, head, scores.Queries, lanes,
                Shape.HeadDim, Shape.Stride, buffers.Rows);
            Transpose.Run<V, S>(buffers.Rows, Shape.Stride, lanes, Shape.Stride, buffers.QueryT, lanes);
            Scale(buffers.QueryT, Shape.HeadDim * lanes, scores.QueryScale);
        }
        for (int key = from; key < end; key += KeysPerTile)
        {
            int keys = Math.Min(KeysPerTile, end - key);
            float* keyRows = buffers.Keys + ((long)(key - chunk0) * Shape.Stride);
            float* valueRows = buffers.Values + ((long)(key - chunk0) * Shape.Stride);
            BlockProducts.Scores<V, S>(scores, key, keys, keyRows, Shape, buffers.QueryT, buffers.Tile);
            if (scores.IsModified || !scores.SeesAll(key, keys)) scores.Modify<V, S>(buffers.Tile, key, keys, null);
            Softmax(buffers.Tile, keys, lanes, maximum, sum, buffers.Factors);
            if (scores.Drops)
            {
                scores.FillKeep(buffers.Keep, key, keys);
                MultiplyInPlace(buffers.Tile, buffers.Keep, keys * lanes);
            }
            BlockProducts.Features<V, S>(scores, key, keys, valueRows, Shape, buffers.Tile, outputT, TileMode.Rescale, buffers.Factors);
        }
        if (last) Finish(sequence, head, scores, outputT, maximum, sum, buffers);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Softmax(float* tile, int keys, int lanes, float* maximum, float* sum, float* factors)
    {
        for (int lane = 0; lane < lanes; lane += S.Width)
        {
            float* column = tile + lane;
            V old = S.Load(maximum + lane), even = old, odd = old;
            int row = 0;
            for (; row + 1 < keys; row += 2)
            {
                even = S.MaxOrSecond(even, S.Load(column + (row * lanes)));
                odd = S.MaxOrSecond(odd, S.Load(column + ((row + 1) * lanes)));
            }
            if (row < keys) even = S.MaxOrSecond(even, S.Load(column + (row * lanes)));
            V highest = S.MaxOrSecond(even, odd);
            S.Store(maximum + lane, highest);
            // A row that has seen nothing yet stays at weight 0 instead of infinity minus infinity.
            V pivot = S.SelectEqual(highest, S.Set(float.NegativeInfinity), S.Zero, highest);
            V total = S.Zero;
            for (row = 0; row < keys; row++)
            {
                V weight = VectorMath.Exp2<V, S>(S.Subtract(S.Load(column), pivot));
                total = S.Add(total, weight);
                S.Store(column, weight);
                column += lanes;
            }
            V factor = VectorMath.Exp2<V, S>(S.Subtract(old, pivot));
            S.Store(factors + lane, factor);
            S.Store(sum + lane, S.Fma(S.Load(sum + lane), factor, total));
        }
    }

    private readonly void Finish(in AttentionSequence sequence, int head, in ScoreTile scores, float* outputT, float* maximum, float* sum,
        in Buffers buffers)
    {
        int lanes = scores.Lanes;
        V one = S.Set(1f), none = S.Set(float.NegativeInfinity);
        for (int lane = 0; lane < lanes; lane += S.Width)
        {
            V total = S.Load(sum + lane), highest = S.Load(maximum + lane);
            V inverse = S.SelectEqual(total, S.Zero, S.Zero, S.Divide(one, total));
            V lse = S.Multiply(S.Add(highest, S.Log2(total)), S.Set(1f / ScoreTile.Log2E));
            S.Store(maximum + lane, S.SelectEqual(total, S.Zero, none, lse));
            for (int feature = 0; feature < Shape.HeadDim; feature++)
            {
                float* at = outputT + (feature * lanes) + lane;
                S.Store(at, S.Multiply(S.Load(at), inverse));
            }
        }
        Transpose.Run<V, S>(outputT, lanes, Shape.Stride, lanes, buffers.Rows, Shape.Stride);
        OperandRows.Store<V, S>(Output, sequence.Batch, sequence.QueryToken + scores.Query0, head, scores.Queries, Shape.HeadDim,
            buffers.Rows, Shape.Stride, 1f, Output.Accumulate);
        if (LogSumExp.Data == null) return;
        float* lseRow = (float*)OperandRows.Address(LogSumExp, sequence.Batch, sequence.QueryToken + scores.Query0, head);
        for (int query = 0; query < scores.Queries; query++) lseRow[query * LogSumExp.TokenStride] = maximum[query];
    }

    private static void Scale(float* values, int count, float factor)
    {
        V f = S.Set(factor);
        for (int i = 0; i < count; i += S.Width) S.Store(values + i, S.Multiply(S.Load(values + i), f));
    }

    private static void MultiplyInPlace(float* values, float* factors, int count)
    {
        for (int i = 0; i < count; i += S.Width) S.Store(values + i, S.Multiply(S.Load(values + i), S.Load(factors + i)));
    }
}
