using Varlen.Autograd;
using Varlen.Backends.Cpu.Attention;
using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : IAttentionKernels
{
    public void AttentionForward(AttentionCall call, Tensor query, Tensor key, Tensor value, Tensor? mask, Tensor output, Tensor lse)
    {
        if (call.IsCached && query.DType != DType.Float64) ForwardAligned(call, query, key, value, output, lse);
        else Forward(call, query, key, value, mask, output, lse);
    }

    private void Forward(AttentionCall call, Tensor query, Tensor key, Tensor value, Tensor? mask, Tensor output, Tensor? lse)
    {
        using var problem = new CpuAttentionCall(this, call, query, key, mask);
        CpuAttention.Forward(Team, problem.Problem, problem.Operand(query), problem.Operand(key), problem.Operand(value), problem.Operand(output), problem.Statistic(lse));
    }

    public void AttentionBackward(AttentionCall call, Tensor query, Tensor key, Tensor value, Tensor? mask, Tensor output, Tensor lse,
        Tensor? outputGradient, Tensor? lseGradient, GradientTarget queryGradient, GradientTarget keyGradient, GradientTarget valueGradient)
    {
        using var problem = new CpuAttentionCall(this, call, query, key, mask);
        CpuAttention.Backward(Team, problem.Problem, problem.Operand(query), problem.Operand(key), problem.Operand(value), problem.Operand(output), problem.Statistic(lse),
            problem.Operand(outputGradient), problem.Statistic(lseGradient), problem.Operand(queryGradient), problem.Operand(keyGradient), problem.Operand(valueGradient));
    }

    public string ExplainAttention(AttentionCall call, Tensor query, Tensor key, Tensor value) => query.DType == DType.Float64
        ? "double-precision reference, row by row"
        : $"SIMD kernels of {System.Numerics.Vector<byte>.Count * 8} bits or wider with single-precision arithmetic, {Team.Size} threads; head dim {query.Shape[-1]} in rows of {(query.Shape[-1] + 15) / 16 * 16}";
}
