namespace Varlen.Backends.Cpu.Attention;

// What goes into scratch and what comes out of it.
internal unsafe partial struct BackwardItems<V, S>
{
    private readonly void Prefetch(in AttentionUnit unit)
    {
        if (unit.Heads == 1) return;
        ref readonly AttentionSequence sequence = ref Problem.Sequences[unit.Sequence];
        PrefetchKeys(Operands.Key, sequence, unit);
        PrefetchKeys(Operands.Value, sequence, unit);
        PrefetchQueries(Operands.Query, sequence, unit);
        PrefetchQueries(Operands.DOutput, sequence, unit);
        PrefetchQueries(Operands.Output, sequence, unit);
        PrefetchQueries(Operands.DQuery, sequence, unit);
        PrefetchKeys(Operands.DKey, sequence, unit);
        PrefetchKeys(Operands.DValue, sequence, unit);
    }

    private readonly void PrefetchKeys(in AttentionOperand operand, in AttentionSequence sequence, in AttentionUnit unit)
        => OperandRows.Prefetch(operand, sequence.Batch, sequence.KeyToken, unit.Head, unit.Heads, sequence.KeyLength, Shape.HeadDim);

    private readonly void PrefetchQueries(in AttentionOperand operand, in AttentionSequence sequence, in AttentionUnit unit)
    {
        int group = Problem.QueryHeads / Problem.KeyHeads;
        OperandRows.Prefetch(operand, sequence.Batch, sequence.QueryToken, unit.Head * group, unit.Heads * group, sequence.QueryLength, Shape.HeadDim);
    }

    private readonly bool AllFinite(in AttentionSequence sequence, int keyHead)
    {
        int dim = Shape.HeadDim, group = Problem.QueryHeads / Problem.KeyHeads;
        if (!OperandRows.AllFinite<V, S>(Operands.Key, sequence.Batch, sequence.KeyToken, keyHead, sequence.KeyLength, dim)
            || !OperandRows.AllFinite<V, S>(Operands.Value, sequence.Batch, sequence.KeyToken, keyHead, sequence.KeyLength, dim)) return false;
        for (int head = keyHead * group; head < (keyHead + 1) * group; head++)
        {
            if (!OperandRows.AllFinite<V, S>(Operands.Query, sequence.Batch, sequence.QueryToken, head, sequence.QueryLength, dim)) return false;
            if (Operands.DOutput.Data != null
                && !OperandRows.AllFinite<V, S>(Operands.DOutput, sequence.Batch, sequence.QueryToken, head, sequence.QueryLength, dim)) return false;
        }
        return true;
    }

    private readonly Buffers Reserve(AttentionScratch scratch, int keys)
    {
        int block = Shape.Block, tile = KeysPerTile * block, rows = block * Shape.Stride;
        long keyFloats = (long)keys * Shape.Stride;
        scratch.Begin((4 * keyFloats) + (6 * rows) + (4 * tile) + (3 * block), 17);
        var buffers = new Buffers
        {
            Keys = scratch.Take(keyFloats), Values = scratch.Take(keyFloats),
            DKeys = scratch.Take(keyFloats), DValues = scratch.Take(keyFloats),
            QueryRows = scratch.Take(rows), QueryT = scratch.Take(rows),
            DOutputRows = scratch.Take(rows), DOutputT = scratch.Take(rows),
            DQueryT = scratch.Take(rows), Rows = scratch.Take(rows),
            Weights = scratch.Take(tile), DScores = scratch.Take(tile), Derivative = scratch.Take(tile), Keep = scratch.Take(tile),
            LaneIndex = scratch.Take(block), LogSumExp = scratch.Take(block), Delta = scratch.Take(block),
        };
        for (int lane = 0; lane < block; lane++) buffers.LaneIndex[lane] = lane;
        return buffers;
    }

    private readonly void LoadKeys(in AttentionSequence sequence, int head, in AttentionUnit unit, int padded, in Buffers buffers)
    {
        int keys = unit.End - unit.First;
        long token = sequence.KeyToken + unit.First, floats = (long)padded * Shape.Stride;
        OperandRows.Load<V, S>(Operands.Key, sequence.Batch, token, head, keys, padded, Shape.HeadDim, Shape.Stride, buffers.Keys);
        OperandRows.Load<V, S>(Operands.Value, sequence.Batch, token, head, keys, padded, Shape.HeadDim, Shape.Stride, buffers.Values);
        AttentionScratch.Clear(buffers.DKeys, floats);
        AttentionScratch.Clear(buffers.DValues, floats);
    }

    private readonly void LoadQueries(in AttentionSequence sequence, int head, in ScoreTile scores, in Buffers buffers)
    {
        int lanes = scores.Lanes, queries = scores.Queries, dim = Shape.HeadDim, stride = Shape.Stride;
        long token = sequence.QueryToken + scores.Query0;
        OperandRows.Load<V, S>(Operands.Query, sequence.Batch, token, head, queries, lanes, dim, stride, buffers.QueryRows);
        Transpose.Run<V, S>(buffers.QueryRows, stride, lanes, stride, buffers.QueryT, lanes);
        V scale = S.Set(scores.QueryScale);
        for (int i = 0; i < dim * lanes; i += S.Width) S.Store(buffers.QueryT + i, S.Multiply(S.Load(buffers.QueryT + i), scale));

        if (Operands.DOutput.Data == null)
        {
            AttentionScratch.Clear(buffers.DOutputRows, stride * lanes);
            AttentionScratch.Clear(buffers.DOutputT, stride * lanes);
        }
        else
        {
            OperandRows.Load<V, S>(Operands.DOutput, sequence.Batch, token, head, queries, lanes, dim, stride, buffers.DOutputRows);
            Transpose.Run<V, S>(buffers.DOutputRows, stride, lanes, stride, buffers.DOutputT, lanes);
            // The output is needed for delta alone, and its transpose lies where dQ^T will.
            OperandRows.Load<V, S>(Operands.Output, sequence.Batch, token, head, queries, lanes, dim, stride, buffers.Rows);
            Transpose.Run<V, S>(buffers.Rows, stride, lanes, stride, buffers.DQueryT, lanes);
        }
        LoadStatistics(sequence, head, scores, buffers);
    }

    private readonly void LoadStatistics(in AttentionSequence sequence, int head, in ScoreTile scores, in Buffers buffers)
    {
        int lanes = scores.Lanes;
        long token = sequence.QueryToken + scores.Query0;
        AttentionScratch.Clear(buffers.LogSumExp, lanes);
        AttentionScratch.Clear(buffers.Delta, lanes);
        float* lse = (float*)OperandRows.Address(Operands.LogSumExp, sequence.Batch, token, head);
        for (int query = 0; query < scores.Queries; query++)
        {
            float value = lse[query * Operands.LogSumExp.TokenStride];
            // A query that sees no key has no weight anywhere: every score is infinitely far below.
            buffers.LogSumExp[query] = value == float.NegativeInfinity ? float.PositiveInfinity : value * ScoreTile.Log2E;
        }
        if (Operands.DLogSumExp.Data != null)
        {
            float* gradient = (float*)OperandRows.Address(Operands.DLogSumExp, sequence.Batch, token, head);
            for (int query = 0; query < scores.Queries; query++)
                buffers.Delta[query] = -gradient[query * Operands.DLogSumExp.TokenStride];
        }
        if (Operands.DOutput.Data == null) return;
        for (int lane = 0; lane < lanes; lane += S.Width)
        {
            V sum = S.Load(buffers.Delta + lane);
            for (int i = lane; i < Shape.HeadDim * lanes; i += lanes)
                sum = S.Fma(S.Load(buffers.DQueryT + i), S.Load(buffers.DOutputT + i), sum);
            S.Store(buffers.Delta + lane, sum);
        }
    }

    private readonly void StoreDQuery(in AttentionSequence sequence, int head, in ScoreTile scores, bool contributes, in AttentionUnit unit,
        in Buffers buffers)
    {
        int lanes = scores.Lanes;
        if (contributes) Transpose.Run<V, S>(buffers.DQueryT, lanes, Shape.Stride, lanes, buffers.Rows, Shape.Stride);
        else AttentionScratch.Clear(buffers.Rows, scores.Queries * Shape.Stride);
        OperandRows.Store<V, S>(Operands.DQuery, sequence.Batch, sequence.QueryToken + scores.Query0, head, scores.Queries, Shape.HeadDim,
            buffers.Rows, Shape.Stride, (float)Problem.Scale, Operands.DQuery.Accumulate || unit.First > 0);
    }

    private readonly void StoreDKeys(in AttentionSequence sequence, int head, in AttentionUnit unit, in Buffers buffers)
    {
        int keys = unit.End - unit.First;
        long token = sequence.KeyToken + unit.First;
        if (Operands.DKey.Data != null)
            OperandRows.Store<V, S>(Operands.DKey, sequence.Batch, token, head, keys, Shape.HeadDim,
                buffers.DKeys, Shape.Stride, (float)Problem.Scale, Operands.DKey.Accumulate);
        if (Operands.DValue.Data != null)
            OperandRows.Store<V, S>(Operands.DValue, sequence.Batch, token, head, keys, Shape.HeadDim,
                buffers.DValues, Shape.Stride, 1f, Operands.DValue.Accumulate);
    }
}
