using System.Runtime.CompilerServices;

namespace Varlen.Backends.Cpu.Attention;

/// <summary>The backward pass, one task at a time.</summary>
/// <remarks>
/// Per key head and chunk of keys, whose gradients stay in scratch, and per block of queries in order: the weights P^T anew from
/// the log-sum-exp, dP^T = V dO^T, dS^T = P^T (dP^T - delta), then dV += P^T dO, dK += dS^T Q and dQ^T = K^T dS^T. Chunks of one head
/// add to dQ in their order, each waiting for its predecessor block by block, so that sums do not depend on threads.
/// </remarks>
internal unsafe partial struct BackwardItems<V, S> : IParallelItems where V : unmanaged where S : ISimd<V>
{
    // The keys of a tile and its dS^T share the first-level cache while dQ^T is formed.
    private const int KeysPerTile = 64;

    // Progress of a unit: 0, then Started plus the blocks in place; or, for the successor to see, that it left the head to the reference.
    private const int Started = 1, NotFinite = int.MaxValue - 1;

    internal AttentionProblem Problem;
    internal AttentionShape Shape;
    internal AttentionGradients Operands;
    internal AttentionUnit* Units;
    internal int* TaskEnds;
    internal int* Progress;

    public void Invoke(long item, int worker)
    {
        AttentionScratch scratch = AttentionScratch.OfThisThread;
        for (int unit = item == 0 ? 0 : TaskEnds[item - 1]; unit < TaskEnds[item]; unit++)
        {
            bool done = false;
            try
            {
                Prefetch(Units[unit]);
                for (int head = 0; head < Units[unit].Heads; head++) RunHead(scratch, unit, Units[unit].Head + head);
                done = true;
            }
            finally
            {
                // Whatever happened, a successor must not wait for ever.
                if (!done) Volatile.Write(ref Progress[unit], int.MaxValue);
            }
        }
    }

    private struct Buffers
    {
        public float* Keys, Values, DKeys, DValues;
        public float* QueryRows, QueryT, DOutputRows, DOutputT, DQueryT, Rows;
        public float* Weights, DScores, Derivative, Keep;
        public float* LaneIndex, LogSumExp, Delta;
    }

    private void RunHead(AttentionScratch scratch, int unitIndex, int keyHead)
    {
        ref readonly AttentionUnit unit = ref Units[unitIndex];
        ref readonly AttentionSequence sequence = ref Problem.Sequences[unit.Sequence];
        int group = Problem.QueryHeads / Problem.KeyHeads;
        if (!Problem.SeesAll && !AllFinite(unitIndex, sequence, keyHead))
        {
            // See the forward pass: what is not seen must not be multiplied. The first chunk's unit does the whole head.
            if (unit.First == 0) AttentionReference.BackwardHead(Problem, Operands, sequence, keyHead);
            return;
        }
        int keys = unit.End - unit.First, padded = AttentionShape.RoundUp(keys);
        Buffers buffers = Reserve(scratch, padded);
        LoadKeys(sequence, keyHead, unit, padded, buffers);
        int blocks = (sequence.QueryLength + Shape.Block - 1) / Shape.Block;
        for (int position = 0; position < group * blocks; position++)
        {
            int head = (keyHead * group) + (position / blocks), query0 = position % blocks * Shape.Block;
            ScoreTile scores = ScoreTile.Create(Problem, sequence, head, query0, Math.Min(Shape.Block, sequence.QueryLength - query0),
                S.Width, buffers.LaneIndex);
            bool contributes = RunBlock(sequence, head, scores, unit, buffers);
            if (unit.First > 0) AwaitPredecessor(unitIndex, position + Started);
            if (Operands.DQuery.Data != null && (contributes || unit.First == 0)) StoreDQuery(sequence, head, scores, contributes, unit, buffers);
            Volatile.Write(ref Progress[unitIndex], position + 1 + Started);
        }
        StoreDKeys(sequence, keyHead, unit, buffers);
    }

    // The first chunk's unit looks for all chunks of its head and hands the answer down.
    private readonly bool AllFinite(int unitIndex, in AttentionSequence sequence, int keyHead)
    {
        bool finite = Units[unitIndex].First == 0 ? AllFinite(sequence, keyHead) : AwaitPredecessor(unitIndex, 0) != NotFinite;
        Volatile.Write(ref Progress[unitIndex], finite ? Started : NotFinite);
        return finite;
    }

    // Waits until the unit of the preceding chunk has gone beyond a point. It has been taken before this one, so it is under way.
    private readonly int AwaitPredecessor(int unitIndex, int point)
    {
        var wait = new SpinWait();
        int progress;
        while ((progress = Volatile.Read(ref Progress[unitIndex - 1])) <= point) wait.SpinOnce(sleep1Threshold: -1);
        return progress;
    }

    // Whether the chunk and the block meet at all.
    private readonly bool RunBlock(in AttentionSequence sequence, int head, in ScoreTile scores, in AttentionUnit unit, in Buffers buffers)
    {
        int from = Math.Max(scores.FirstKey / TileProduct.Rows * TileProduct.Rows, unit.First), end = Math.Min(scores.EndKey, unit.End);
        if (from >= end) return false;
        int lanes = scores.Lanes;
        LoadQueries(sequence, head, scores, buffers);
        for (int key = from; key < end; key += KeysPerTile)
        {
            int keys = Math.Min(KeysPerTile, end - key), padded = AttentionShape.RoundUp(keys);
            long row = (long)(key - unit.First) * Shape.Stride;
            BlockProducts.Scores<V, S>(scores, key, keys, buffers.Keys + row, Shape, buffers.QueryT, buffers.Weights);
            BlockProducts.Scores<V, S>(scores, key, keys, buffers.Values + row, Shape, buffers.DOutputT, buffers.DScores);
            bool guarded = scores.IsMasked || !scores.SeesAll(key, keys);
            if (guarded || scores.IsModified) scores.Modify<V, S>(buffers.Weights, key, keys, buffers.Derivative);
            if (scores.Drops) scores.FillKeep(buffers.Keep, key, keys);
            if (guarded || scores.IsCapped || scores.Drops)
                Differentiate(buffers, keys, lanes, scores.Drops ? buffers.Keep : null, scores.IsCapped ? buffers.Derivative : null);
            else Differentiate(buffers, keys, lanes);
            // Keys beyond the tile share its last rows' products.
            new Span<float>(buffers.Weights + (keys * lanes), (padded - keys) * lanes).Clear();
            new Span<float>(buffers.DScores + (keys * lanes), (padded - keys) * lanes).Clear();
            if (Operands.DValue.Data != null)
                BlockProducts.Keys<V, S>(scores, key, keys, buffers.Weights, buffers.DOutputRows, Shape, buffers.DValues + row);
            if (Operands.DKey.Data != null)
                BlockProducts.Keys<V, S>(scores, key, keys, buffers.DScores, buffers.QueryRows, Shape, buffers.DKeys + row);
            if (Operands.DQuery.Data != null)
                BlockProducts.Features<V, S>(scores, key, keys, buffers.Keys + row, Shape, buffers.DScores, buffers.DQueryT,
                    key == from ? TileMode.Store : TileMode.Add, null);
        }
        return true;
    }

    // Scores become weights, and their gradients those of the scores.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Differentiate(in Buffers buffers, int keys, int lanes)
    {
        for (int lane = 0; lane < lanes; lane += S.Width)
        {
            V lse = S.Load(buffers.LogSumExp + lane), delta = S.Load(buffers.Delta + lane);
            float* weight = buffers.Weights + lane;
            float* gradient = buffers.DScores + lane;
            for (int row = 0; row < keys; row++, weight += lanes, gradient += lanes)
            {
                V p = VectorMath.Exp2<V, S>(S.Subtract(S.Load(weight), lse));
                S.Store(gradient, S.Multiply(p, S.Subtract(S.Load(gradient), delta)));
                S.Store(weight, p);
            }
        }
    }

    // The same with dropout, with capped scores, and with invisible keys, whose gradient is 0 even where a product overflowed.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Differentiate(in Buffers buffers, int keys, int lanes, float* keep, float* derivative)
    {
        V one = S.Set(1f);
        for (int lane = 0; lane < lanes; lane += S.Width)
        {
            V lse = S.Load(buffers.LogSumExp + lane), delta = S.Load(buffers.Delta + lane);
            for (int i = lane; i < keys * lanes; i += lanes)
            {
                V p = VectorMath.Exp2<V, S>(S.Subtract(S.Load(buffers.Weights + i), lse));
                V kept = keep == null ? one : S.Load(keep + i);
                V slope = derivative == null ? p : S.Multiply(p, S.Load(derivative + i));
                V gradient = S.Multiply(slope, S.Subtract(S.Multiply(S.Load(buffers.DScores + i), kept), delta));
                S.Store(buffers.DScores + i, S.SelectEqual(p, S.Zero, S.Zero, gradient));
                S.Store(buffers.Weights + i, S.Multiply(p, kept));
            }
        }
    }
}
