using Varlen.Autograd;
using Varlen.Backends.Cuda.Attention;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend
{
    private const int ShortThreads = 128, ShortRows = 64;

    private static readonly KernelOption ShortElement = new("ELEMENT", [DType.BFloat16, DType.Float16]), ShortHeadDim = KernelOption.Values("HEAD_DIM", 32, 64, 96, 128);
    private static readonly KernelFamily ShortForwardKernel = new("attention_short_forward.cu", "attention_short_forward", ShortElement, ShortHeadDim),
        ShortBackwardKernel = new("attention_short_backward.cu", "attention_short_backward", ShortElement, ShortHeadDim, KernelOption.Flag("GROUPED"));

    private void ShortForward(ShortList list, AttentionCall call, AttentionShape shape, Tensor query, Tensor key, Tensor value, Tensor output, Tensor lse)
    {
        // Two slots of queries, keys and values.
        int bytes = 2 * 3 * ShortRows * shape.RowBytes, blocks = shape.Bucket <= 64 ? 4 : shape.Bucket <= 96 ? 3 : 2;
        var arguments = new ShortForwardArguments
        {
            Problem = ProblemOf(list, call, query, key), Query = new(query), Key = new(key), Value = new(value), Output = new(output), Lse = lse.Pointer, LseHead = lse.Strides[0],
        };
        Launch(ShortForwardKernel.With(query.DType, shape.Bucket), Math.Min(list.Blocks(query.Shape[1]), (long)MultiprocessorCount * blocks), ShortThreads, in arguments, bytes);
    }

    private void ShortBackward(ShortList list, AttentionCall call, AttentionShape shape, Tensor query, Tensor key, Tensor value, Tensor lse,
        Tensor outputGradient, Tensor? lseGradient, GradientTarget queryGradient, GradientTarget keyGradient, GradientTarget valueGradient)
    {
        if (!queryGradient.IsWanted && !keyGradient.IsWanted && !valueGradient.IsWanted) return;
        bool isGrouped = query.Shape[1] != key.Shape[1];
        const int weights = 2 * ShortRows * ShortRows * 2;
        // Queries, keys, values and the output's gradient; weights and the products' gradients take the place of the values, unless another head of the group needs them.
        int tile = ShortRows * shape.RowBytes, bytes = isGrouped ? (4 * tile) + weights : (3 * tile) + Math.Max(tile, weights);
        int blocks = isGrouped ? 2 : shape.Bucket <= 64 ? 4 : 3;
        var arguments = new ShortBackwardArguments
        {
            Problem = ProblemOf(list, call, query, key), Query = new(query), Key = new(key), Value = new(value), OutputGradient = new(outputGradient),
            QueryGradient = new(queryGradient), KeyGradient = new(keyGradient), ValueGradient = new(valueGradient),
            Lse = lse.Pointer, LseHead = lse.Strides[0], LseGradient = lseGradient?.Pointer ?? 0, LseGradientHead = lseGradient?.Strides[0] ?? 0,
        };
        Launch(ShortBackwardKernel.With(query.DType, shape.Bucket, isGrouped), Math.Min(list.Blocks(key.Shape[1]), (long)MultiprocessorCount * blocks), ShortThreads, in arguments, bytes);
    }

    private static ShortProblem ProblemOf(ShortList list, AttentionCall call, Tensor query, Tensor key)
    {
        AttentionOptions options = call.Options;
        return new ShortProblem
        {
            List = list.Pointer, QueryHeads = query.Shape[1], KeyHeads = key.Shape[1], Dim = query.Shape[2], Scale = (float)call.Scale,
            Left = AttentionProblem.Bound(options.Window.Left), Right = AttentionProblem.Bound(options.Window.Right), IsBottomRight = options.Alignment == AttentionAlignment.BottomRight ? 1 : 0,
        };
    }
}
