using System.Runtime.Intrinsics;

namespace Varlen.Backends.Cpu.Attention;

/// <summary>
/// Variable-length attention on the CPU. Operands in single, brain or half precision run on SIMD kernels with single-precision
/// arithmetic; operands in double precision run on <see cref="AttentionReference"/>.
/// </summary>
/// <remarks>
/// Rows and keys that no sequence covers are neither read nor written. The bits of a row depend on its own sequence only: not on
/// the batch, its order, or the number of threads.
/// </remarks>
internal static unsafe class CpuAttention
{
    /// <summary>Computes the output and, per query head and query token, the natural log of the sum of exponentials.</summary>
    /// <param name="team">Threads to run on.</param>
    /// <param name="p">The problem.</param>
    /// <param name="q">[query tokens, query heads, dim].</param>
    /// <param name="k">[key tokens, key heads, dim].</param>
    /// <param name="v">Like <paramref name="k"/>.</param>
    /// <param name="output">Like <paramref name="q"/>.</param>
    /// <param name="lse">[query heads, query tokens]: token stride 1; double for the reference, single otherwise. May be absent.</param>
    internal static void Forward(ThreadTeam team, in AttentionProblem p, in AttentionOperand q, in AttentionOperand k,
        in AttentionOperand v, in AttentionOperand output, in AttentionOperand lse)
    {
        if (p.SequenceCount == 0 || p.QueryHeads == 0) return;
        if (q.DType == DType.Float64)
        {
            var items = new ReferenceForwardItems { Problem = p, Query = q, Key = k, Value = v, Output = output, LogSumExp = lse };
            team.For((long)p.SequenceCount * p.QueryHeads, ref items);
        }
        else if (Vector512.IsHardwareAccelerated) Forward<Vector512<float>, Simd512>(team, p, q, k, v, output, lse);
        else if (Vector256.IsHardwareAccelerated) Forward<Vector256<float>, Simd256>(team, p, q, k, v, output, lse);
        else Forward<Vector128<float>, Simd128>(team, p, q, k, v, output, lse);
    }

    /// <summary>Computes the gradients that are wanted. Each row that a sequence covers is written, or added to.</summary>
    /// <param name="team">Threads to run on.</param>
    /// <param name="p">The problem, as in the forward pass.</param>
    /// <param name="q">The forward pass's input.</param>
    /// <param name="k">The forward pass's input.</param>
    /// <param name="v">The forward pass's input.</param>
    /// <param name="output">The forward pass's result.</param>
    /// <param name="lse">The forward pass's log-sum-exp.</param>
    /// <param name="dOutput">Gradient of the output, or absent.</param>
    /// <param name="dLse">Gradient of the log-sum-exp, or absent.</param>
    /// <param name="dQuery">Where the gradient of <paramref name="q"/> goes, in any floating-point type; absent when not wanted.</param>
    /// <param name="dKey">Likewise for <paramref name="k"/>.</param>
    /// <param name="dValue">Likewise for <paramref name="v"/>.</param>
    internal static void Backward(ThreadTeam team, in AttentionProblem p, in AttentionOperand q, in AttentionOperand k,
        in AttentionOperand v, in AttentionOperand output, in AttentionOperand lse, in AttentionOperand dOutput,
        in AttentionOperand dLse, in AttentionOperand dQuery, in AttentionOperand dKey, in AttentionOperand dValue)
    {
        if (p.SequenceCount == 0 || p.QueryHeads == 0) return;
        var gradients = new AttentionGradients
        {
            Query = q, Key = k, Value = v, Output = output, LogSumExp = lse, DOutput = dOutput, DLogSumExp = dLse,
            DQuery = dQuery, DKey = dKey, DValue = dValue,
        };
        if (q.DType == DType.Float64)
        {
            var items = new ReferenceBackwardItems { Problem = p, Gradients = gradients };
            team.For((long)p.SequenceCount * p.KeyHeads, ref items);
        }
        else if (Vector512.IsHardwareAccelerated) Backward<Vector512<float>, Simd512>(team, p, gradients);
        else if (Vector256.IsHardwareAccelerated) Backward<Vector256<float>, Simd256>(team, p, gradients);
        else Backward<Vector128<float>, Simd128>(team, p, gradients);
    }

    private static void Forward<V, S>(ThreadTeam team, in AttentionProblem p, in AttentionOperand q, in AttentionOperand k,
        in AttentionOperand v, in AttentionOperand output, in AttentionOperand lse) where V : unmanaged where S : ISimd<V>
    {
        var shape = new AttentionShape(p.HeadDim, S.Width);
        AttentionPlan plan = AttentionPlan.OfThisThread;
        plan.BuildForward(p, team.Size, shape.Block, shape.ForwardChunk, ForwardItems<V, S>.LongestWithState * shape.Block);
        var items = new ForwardItems<V, S>
        {
            Problem = p, Shape = shape, Query = q, Key = k, Value = v, Output = output, LogSumExp = lse,
            Units = plan.Units, TaskEnds = plan.TaskEnds,
        };
        team.For(plan.TaskCount, ref items);
    }

    private static void Backward<V, S>(ThreadTeam team, in AttentionProblem p, in AttentionGradients gradients)
        where V : unmanaged where S : ISimd<V>
    {
        var shape = new AttentionShape(p.HeadDim, S.Width);
        int chunk = shape.BackwardChunk;
        // Chunks add to the query's gradient in turn, in its own memory: other types than single would round every time.
        if (gradients.DQuery.Data != null && gradients.DQuery.DType != DType.Float32)
            for (int i = 0; i < p.SequenceCount; i++) chunk = Math.Max(chunk, AttentionShape.RoundUp(p.Sequences[i].KeyLength));
        AttentionPlan plan = AttentionPlan.OfThisThread;
        plan.BuildBackward(p, team.Size, chunk);
        var items = new BackwardItems<V, S>
        {
            Problem = p, Shape = shape, Operands = gradients,
            Units = plan.Units, TaskEnds = plan.TaskEnds, Progress = plan.Progress,
        };
        team.For(plan.TaskCount, ref items);
    }
}
