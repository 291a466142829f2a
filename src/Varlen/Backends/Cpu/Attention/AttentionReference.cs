using System.Runtime.InteropServices;

namespace Varlen.Backends.Cpu.Attention;

/// <summary>
/// Attention as its definition reads: for each query a loop over the keys that it sees, in double precision, nothing packed.
/// It is what double operands run on, and where the fast kernels send non-finite inputs: a key that is not seen is not touched,
/// so its NaN cannot spread.
/// </summary>
internal static unsafe class AttentionReference
{
    /// <summary>Output and log-sum-exp of queries <paramref name="first"/> to <paramref name="end"/> - 1 of one sequence and query head.</summary>
    internal static void ForwardRows(in AttentionProblem problem, in AttentionOperand query, in AttentionOperand key,
        in AttentionOperand value, in AttentionOperand output, in AttentionOperand lse,
        in AttentionSequence sequence, int head, int first, int end)
    {
        int dim = problem.HeadDim, keyHead = head / (problem.QueryHeads / problem.KeyHeads);
        var scores = new ReferenceScores(problem, sequence, head);
        double* memory = (double*)NativeMemory.Alloc((nuint)((3L * dim) + sequence.KeyLength), sizeof(double));
        double* buffer = memory, row = memory + dim, sum = memory + (2 * dim), score = memory + (3 * dim);
        for (int i = first; i < end; i++)
        {
            double* q = ReferenceRow.Read(query, sequence, sequence.QueryToken + i, head, dim, buffer);
            (int firstKey, int endKey) = problem.Window.Range(i, problem.Shift(sequence), sequence.KeyLength);
            double maximum = double.NegativeInfinity, total = 0;
            for (int j = firstKey; j < endKey; j++)
            {
                score[j] = double.NegativeInfinity;
                if (scores.Hides(i, j)) continue;
                double* k = ReferenceRow.Read(key, sequence, sequence.TokenOf(j), keyHead, dim, row);
                score[j] = scores.Score(ReferenceRow.Dot(q, k, dim), i, j);
                maximum = Math.Max(maximum, score[j]);
            }
            new Span<double>(sum, dim).Clear();
            for (int j = firstKey; j < endKey; j++)
            {
                if (maximum == double.NegativeInfinity || scores.Hides(i, j)) continue;
                double weight = Math.Exp(score[j] - maximum);
                total += weight;
                double kept = weight * scores.Keep(i, j);
                double* v = ReferenceRow.Read(value, sequence, sequence.TokenOf(j), keyHead, dim, row);
                ReferenceRow.AddScaled(sum, kept, v, dim);
            }
            bool sees = maximum != double.NegativeInfinity;
            for (int f = 0; f < dim; f++) sum[f] = sees ? sum[f] / total : 0;
            ReferenceRow.Write(output, sequence, sequence.QueryToken + i, head, dim, sum);
            double natural = sees ? maximum + Math.Log(total) : double.NegativeInfinity;
            if (lse.Data != null) ReferenceRow.Write(lse, sequence, sequence.QueryToken + i, head, 1, &natural);
        }
        NativeMemory.Free(memory);
    }

    /// <summary>Gradients of one sequence and key head with all its query heads.</summary>
    internal static void BackwardHead(in AttentionProblem problem, in AttentionGradients g, in AttentionSequence sequence, int keyHead)
    {
        int dim = problem.HeadDim, group = problem.QueryHeads / problem.KeyHeads;
        long keyFloats = (long)sequence.KeyLength * dim;
        double* memory = (double*)NativeMemory.AllocZeroed((nuint)((2 * keyFloats) + (6L * dim)), sizeof(double));
        double* dKeys = memory, dValues = memory + keyFloats;
        double* rows = dValues + keyFloats;
        for (int head = keyHead * group; head < (keyHead + 1) * group; head++)
        {
            var scores = new ReferenceScores(problem, sequence, head);
            for (int i = 0; i < sequence.QueryLength; i++)
                BackwardRow(problem, g, sequence, scores, head, keyHead, i, dKeys, dValues, rows);
        }
        for (int j = 0; j < sequence.KeyLength; j++)
        {
            long token = sequence.KeyToken + j;
            if (g.DKey.Data != null) ReferenceRow.Write(g.DKey, sequence, token, keyHead, dim, dKeys + ((long)j * dim));
            if (g.DValue.Data != null) ReferenceRow.Write(g.DValue, sequence, token, keyHead, dim, dValues + ((long)j * dim));
        }
        NativeMemory.Free(memory);
    }

    private static void BackwardRow(in AttentionProblem problem, in AttentionGradients g, in AttentionSequence sequence,
        in ReferenceScores scores, int head, int keyHead, int i, double* dKeys, double* dValues, double* rows)
    {
        int dim = problem.HeadDim;
        long token = sequence.QueryToken + i;
        double* dQuery = rows;
        new Span<double>(dQuery, dim).Clear();
        double lse = ReferenceRow.Element(OperandRows.Address(g.LogSumExp, sequence.Batch, token, head), g.LogSumExp.DType, 0);
        (int firstKey, int endKey) = problem.Window.Range(i, problem.Shift(sequence), sequence.KeyLength);
        if (lse != double.NegativeInfinity && firstKey < endKey)
        {
            double* q = ReferenceRow.Read(g.Query, sequence, token, head, dim, rows + dim);
            double* o = ReferenceRow.Read(g.Output, sequence, token, head, dim, rows + (2 * dim));
            double* dOutput = null;
            double delta = 0;
            if (g.DOutput.Data != null)
            {
                dOutput = ReferenceRow.Read(g.DOutput, sequence, token, head, dim, rows + (3 * dim));
                delta = ReferenceRow.Dot(dOutput, o, dim);
            }
            if (g.DLogSumExp.Data != null)
                delta -= ReferenceRow.Element(OperandRows.Address(g.DLogSumExp, sequence.Batch, token, head), g.DLogSumExp.DType, 0);
            for (int j = firstKey; j < endKey; j++)
            {
                if (scores.Hides(i, j)) continue;
                double* k = ReferenceRow.Read(g.Key, sequence, sequence.KeyToken + j, keyHead, dim, rows + (4 * dim));
                double product = ReferenceRow.Dot(q, k, dim);
                double weight = Math.Exp(scores.Score(product, i, j) - lse);
                double dWeight = 0;
                if (dOutput != null)
                {
                    double keep = scores.Keep(i, j);
                    double* v = ReferenceRow.Read(g.Value, sequence, sequence.KeyToken + j, keyHead, dim, rows + (5 * dim));
                    dWeight = keep * ReferenceRow.Dot(dOutput, v, dim);
                    ReferenceRow.AddScaled(dValues + ((long)j * dim), weight * keep, dOutput, dim);
                }
                double dProduct = weight * (dWeight - delta) * scores.Slope(product);
                ReferenceRow.AddScaled(dQuery, dProduct, k, dim);
                ReferenceRow.AddScaled(dKeys + ((long)j * dim), dProduct, q, dim);
            }
        }
        if (g.DQuery.Data != null) ReferenceRow.Write(g.DQuery, sequence, token, head, dim, dQuery);
    }
}
