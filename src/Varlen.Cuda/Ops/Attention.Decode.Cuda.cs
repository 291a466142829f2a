using Varlen.Backends.Cuda.Attention;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : IDecodingKernels
{
    private const int DecodeRows = 16, CombineThreads = 128;

    private static readonly KernelOption[] DecodeDomains = [KernelOption.FloatingPoint("ELEMENT"), KernelOption.Values("HEAD_DIM", AttentionShape.Buckets)];
    private static readonly KernelFamily DecodeKernel = new("attention_decode.cu", "attention_decode", DecodeDomains), DecodeCombineKernel = new("attention_decode.cu", "attention_decode_combine", DecodeDomains);

    private void DecodeForward(AttentionLists lists, DecodeParts parts, AttentionCall call, Tensor query, Tensor key, Tensor value, Tensor output, Tensor lse, int bucket)
    {
        int keyHeads = key.Shape[1], tiles = (parts.MaxQueries * (query.Shape[1] / keyHeads) + DecodeRows - 1) / DecodeRows, dim = query.Shape[2];
        bool isDivided = parts.DividedCount > 0;
        int rows = isDivided ? checked(parts.Count * keyHeads * tiles * DecodeRows) : 0;
        using Tensor partOutput = Tensor.AllocateUntracked([rows, dim], DType.Float32, Device), partStatistics = Tensor.AllocateUntracked([rows, 2], DType.Float32, Device);
        var arguments = new DecodeArguments
        {
            Problem = AttentionProblem.Of(call, query, key, null), List = parts.List, Pages = lists.Pages, PageSize = call.PageSize, Columns = call.Table?.Columns ?? 0, Tiles = tiles,
            Query = AttentionOperand.Of(query), Key = AttentionOperand.Of(key), Value = AttentionOperand.Of(value), Output = AttentionOperand.Of(output), Lse = AttentionStatistic.Of(lse),
            PartOutput = partOutput.Pointer, PartStatistics = partStatistics.Pointer, Divided = parts.Divided,
        };
        (int warps, int bytes) = DecodeParts.Shape(query.DType, bucket);
        Launch(DecodeKernel.With(query.DType, bucket), (long)parts.Count * keyHeads * tiles, 32 * warps, in arguments, bytes);
        if (isDivided) Launch(DecodeCombineKernel.With(query.DType, bucket), (long)parts.DividedCount * keyHeads * tiles, CombineThreads, in arguments);
    }
    public void Decode(Tensor query, Tensor keys, Tensor values, DecodeTable table, AttentionOptions options, double scale, Tensor output)
    {
        RequireComputeType("Attention", query);
        (int rows, int heads, int dim, int keyHeads) = (query.Shape[0], query.Shape[1], query.Shape[2], keys.Shape[1]);
        int tiles = (heads / keyHeads + DecodeRows - 1) / DecodeRows, parts = DecodeParts.Most(table.MostKeys), sums = parts > 1 ? checked(rows * parts * keyHeads * tiles * DecodeRows) : 0;
        using Tensor partOutput = Tensor.AllocateUntracked([sums, dim], DType.Float32, Device), partStatistics = Tensor.AllocateUntracked([sums, 2], DType.Float32, Device);
        using Tensor lse = Tensor.AllocateUntracked([heads, rows], DType.Float32, Device);
        var arguments = new DecodeArguments
        {
            Problem = AttentionProblem.Of(new AttentionCall(null, null, options, scale), query, keys, null),
            Pages = table.Pages.Pointer, PageSize = table.PageSize, Columns = table.Pages.Shape[1], Tiles = tiles, RowParts = parts, Lengths = table.Lengths.Pointer,
            Query = AttentionOperand.Of(query), Key = AttentionOperand.Of(keys), Value = AttentionOperand.Of(values), Output = AttentionOperand.Of(output), Lse = AttentionStatistic.Of(lse),
            PartOutput = partOutput.Pointer, PartStatistics = partStatistics.Pointer,
        };
        int bucket = new AttentionShape(query.DType, dim).Bucket;
        (int warps, int bytes) = DecodeParts.Shape(query.DType, bucket);
        Launch(DecodeKernel.With(query.DType, bucket), (long)rows * parts * keyHeads * tiles, 32 * warps, in arguments, bytes);
        if (parts > 1) Launch(DecodeCombineKernel.With(query.DType, bucket), (long)rows * keyHeads * tiles, CombineThreads, in arguments);
    }
}
