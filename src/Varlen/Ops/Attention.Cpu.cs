using Varlen.Autograd;
using Varlen.Backends.Cpu.Attention;
using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : IAttentionKernels
{
    public void AttentionForward(AttentionCall call, Tensor query, Tensor key, Tensor value, Tensor? mask, Tensor output, Tensor lse)
    {
        if (call is { KeyStarts: not null } && query.DType != DType.Float64) ForwardAligned(call, query, key, value, output);
        else Forward(call, query, key, value, mask, output, lse);
    }

    private void Forward(AttentionCall call, Tensor query, Tensor key, Tensor value, Tensor? mask, Tensor output, Tensor? lse)
    {
        using var problem = new CpuAttentionCall(this, call, query, key, mask);
        CpuAttention.Forward(Team, problem.Problem, problem.Operand(query), problem.Operand(key), problem.Operand(value), problem.Operand(output), problem.Statistic(lse));
        if (call.Query is not { } layout) return;
        FillTail(output, layout.TotalTokens, dimension: 0, 0);
        if (lse is not null) FillTail(lse, layout.TotalTokens, dimension: 1, double.NegativeInfinity);
    }

    public void AttentionBackward(AttentionCall call, Tensor query, Tensor key, Tensor value, Tensor? mask, Tensor output, Tensor lse,
        Tensor? outputGradient, Tensor? lseGradient, GradientTarget queryGradient, GradientTarget keyGradient, GradientTarget valueGradient)
    {
        using var problem = new CpuAttentionCall(this, call, query, key, mask);
        CpuAttention.Backward(Team, problem.Problem, problem.Operand(query), problem.Operand(key), problem.Operand(value), problem.Operand(output), problem.Statistic(lse),
            problem.Operand(outputGradient), problem.Statistic(lseGradient), problem.Operand(queryGradient), problem.Operand(keyGradient), problem.Operand(valueGradient));
        if (call is not { Query: { } queries, Key: { } keys }) return;
        ZeroTail(queryGradient, queries);
        ZeroTail(keyGradient, keys);
        ZeroTail(valueGradient, keys);
    }

    public string ExplainAttention(AttentionCall call, Tensor query, Tensor key, Tensor value) => query.DType == DType.Float64
        ? "double-precision reference, row by row"
        : $"SIMD kernels of {System.Numerics.Vector<byte>.Count * 8} bits or wider with single-precision arithmetic, {Team.Size} threads; head dim {query.Shape[-1]} in rows of {(query.Shape[-1] + 15) / 16 * 16}";

    private void ZeroTail(GradientTarget target, SequenceLayout layout)
    {
        // Where gradients are added up, tokens of no sequence add nothing.
        if (target is { Tensor: { } tensor, Accumulate: false }) FillTail(tensor, layout.TotalTokens, dimension: 0, 0);
    }

    private void FillTail(Tensor tensor, int covered, int dimension, double value)
    {
        int tail = tensor.Shape[dimension] - covered;
        if (tail == 0) return;
        int[] sizes = tensor.Shape.Dimensions.ToArray();
        sizes[dimension] = tail;
        using Tensor rest = tensor.UntrackedView(new Shape(sizes), tensor.Strides.ToArray(), covered * tensor.Strides[dimension]);
        Fill(rest, value);
    }
}
