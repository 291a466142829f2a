using Varlen.Autograd;
using Varlen.Backends.Cuda.Attention;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend
{
    private static readonly KernelOption[] OnePassDomains = [new("ELEMENT", [DType.BFloat16, DType.Float16]), KernelOption.Values("HEAD_DIM", 64, 128)];
    private static readonly KernelFamily OnePassBeforeKernel = new("attention_one_pass.cu", "attention_one_pass_before", OnePassDomains),
        OnePassKernel = new("attention_one_pass.cu", "attention_one_pass", OnePassDomains),
        OnePassAfterKernel = new("attention_one_pass.cu", "attention_one_pass_after", OnePassDomains);

    private void OnePassBackward(OnePassLists lists, AttentionCall call, Tensor query, Tensor key, Tensor value, Tensor output, Tensor lse,
        Tensor outputGradient, Tensor? lseGradient, GradientTarget queryGradient, GradientTarget keyGradient, GradientTarget valueGradient)
    {
        if (!queryGradient.IsWanted && !keyGradient.IsWanted && !valueGradient.IsWanted) return;
        int tokens = query.Shape[0], heads = query.Shape[1], dim = query.Shape[2];
        ((nint queryTiles, int queryCount), (nint keyTiles, int keyCount)) = (lists.Queries, lists.Keys);
        using Tensor rows = Tensor.AllocateUntracked([heads, tokens, 2], DType.Float32, Device), workspace = Tensor.AllocateUntracked([queryGradient.IsWanted ? heads : 0, tokens, dim], DType.Float32, Device);
        var arguments = new OnePassArguments
        {
            Problem = AttentionProblem.Of(call, query, key, null), QueryTiles = queryTiles, KeyTiles = keyTiles,
            Query = AttentionOperand.Of(query), Key = AttentionOperand.Of(key), Value = AttentionOperand.Of(value), Output = AttentionOperand.Of(output), OutputGradient = AttentionOperand.Of(outputGradient),
            QueryGradient = AttentionOperand.Of(queryGradient, query.DType), KeyGradient = AttentionOperand.Of(keyGradient, query.DType), ValueGradient = AttentionOperand.Of(valueGradient, query.DType),
            Lse = AttentionStatistic.Of(lse), LseGradient = AttentionStatistic.Of(lseGradient), Rows = AttentionStatistic.Of(rows, width: 2),
            Workspace = queryGradient.IsWanted ? workspace.Pointer : 0, Tokens = tokens,
        };
        if (queryCount > 0) Launch(OnePassBeforeKernel.With(query.DType, dim), (long)queryCount * heads, 256, in arguments);
        if (keyCount > 0) Launch(OnePassKernel.With(query.DType, dim), (long)keyCount * key.Shape[1], dim == 64 ? 128 : 256, in arguments, OnePassLists.SharedBytes(dim));
        if (queryCount > 0 && queryGradient.IsWanted) Launch(OnePassAfterKernel.With(query.DType, dim), (long)queryCount * heads, 256, in arguments);
    }
}
