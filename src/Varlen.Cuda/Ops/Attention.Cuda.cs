using Varlen.Autograd;
using Varlen.Backends.Cuda.Attention;
using Varlen.Backends.Cuda.Compilation;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed unsafe partial class CudaBackend : IAttentionKernels
{
    private const int ValuePart = 1, KeyPart = 2;

    private static readonly KernelOption[] AttentionDomains = [KernelOption.FloatingPoint("ELEMENT"), KernelOption.Values("HEAD_DIM", AttentionShape.Buckets), KernelOption.Flag("FEATURES")];
    private static readonly KernelFamily AttentionForwardKernel = new("attention_forward.cu", "attention_forward", AttentionDomains),
        // Rarely more than the first tokens of a sequence that goes on, so score options are not left out of it.
        AttentionPagedKernel = new("attention_forward.cu", "attention_forward", KernelOption.FloatingPoint("ELEMENT"), KernelOption.Values("HEAD_DIM", AttentionShape.Buckets), KernelOption.Values("FEATURES", 1), KernelOption.Values("PAGED", 1)),
        AttentionQueriesKernel = new("attention_backward.cu", "attention_backward_queries", AttentionDomains),
        AttentionKeysKernel = new("attention_backward.cu", "attention_backward_keys", AttentionDomains);

    public void AttentionForward(AttentionCall call, Tensor query, Tensor key, Tensor value, Tensor? mask, Tensor output, Tensor lse)
    {
        CheckAttention(call, query, key);
        var shape = new AttentionShape(query.DType, query.Shape[-1]);
        (AttentionLists lists, bool isOwn) = AttentionLists.Of(this, call, shape, query, key, FamiliesFor(call, query, key, value));
        var arguments = new AttentionForwardArguments
        {
            Problem = AttentionProblem.Of(call, query, key, mask), List = lists.Forward,
            Query = AttentionOperand.Of(query), Key = AttentionOperand.Of(key), Value = AttentionOperand.Of(value), Output = AttentionOperand.Of(output), Lse = AttentionStatistic.Of(lse),
            Pages = lists.Pages, PageSize = call.PageSize, Columns = call.Table?.Columns ?? 0,
        };
        long blocks = arguments.List.Blocks(query.Shape[1], shape.Warps);
        KernelKey kernel = call.Table is null ? AttentionForwardKernel.With(query.DType, shape.Bucket, AttentionProblem.HasFeatures(call)) : AttentionPagedKernel.With(query.DType, shape.Bucket, 1, 1);
        if (blocks > 0) Launch(kernel, blocks, shape.Threads, in arguments, shape.ForwardBytes);
        if (lists.Short is { } inOneBlock) ShortForward(inOneBlock, call, shape, query, key, value, output, lse);
        if (lists.Decode is { } parts) DecodeForward(lists, parts, call, query, key, value, output, lse, shape.Bucket);
        if (lists.Hopper is { } hopper) HopperForward(hopper, call, query, key, value, output, lse);
        if (isOwn) lists.Dispose();
    }

    public void AttentionBackward(AttentionCall call, Tensor query, Tensor key, Tensor value, Tensor? mask, Tensor output, Tensor lse,
        Tensor? outputGradient, Tensor? lseGradient, GradientTarget queryGradient, GradientTarget keyGradient, GradientTarget valueGradient)
    {
        CheckAttention(call, query, key);
        var shape = new AttentionShape(query.DType, query.Shape[-1]);
        (AttentionLists lists, bool isOwn) = AttentionLists.Of(this, call, shape, query, key, FamiliesFor(call, query, key, value, outputGradient, queryGradient, keyGradient, valueGradient));
        if (lists.Queries.Blocks(query.Shape[1], shape.Warps) + lists.Keys.Blocks(key.Shape[1], shape.Warps) > 0)
            PortableBackward(lists, call, shape, query, key, value, mask, output, lse, outputGradient, lseGradient, queryGradient, keyGradient, valueGradient);
        if (lists.Short is { } inOneBlock) ShortBackward(inOneBlock, call, shape, query, key, value, lse, outputGradient!, lseGradient, queryGradient, keyGradient, valueGradient);
        if (lists.Hopper is { } hopper) HopperBackward(hopper, call, query, key, value, output, lse, outputGradient!, lseGradient, queryGradient, keyGradient, valueGradient);
        if (lists.OnePass is { } inOnePass) OnePassBackward(inOnePass, call, query, key, value, output, lse, outputGradient!, lseGradient, queryGradient, keyGradient, valueGradient);
        if (isOwn) lists.Dispose();
    }

    private void PortableBackward(AttentionLists lists, AttentionCall call, AttentionShape shape, Tensor query, Tensor key, Tensor value, Tensor? mask, Tensor output, Tensor lse,
        Tensor? outputGradient, Tensor? lseGradient, GradientTarget queryGradient, GradientTarget keyGradient, GradientTarget valueGradient)
    {
        // What the first kernel finds for each query and head, and the second needs again.
        using Tensor rows = Tensor.AllocateUntracked([.. lse.Shape.Dimensions, 2], DType.Float32, Device);
        var arguments = new AttentionBackwardArguments
        {
            Problem = AttentionProblem.Of(call, query, key, mask), QueryList = lists.Queries, KeyList = lists.Keys,
            Query = AttentionOperand.Of(query), Key = AttentionOperand.Of(key), Value = AttentionOperand.Of(value), Output = AttentionOperand.Of(output),
            OutputGradient = AttentionOperand.Of(outputGradient), QueryGradient = AttentionOperand.Of(queryGradient, query.DType),
            KeyGradient = AttentionOperand.Of(keyGradient, query.DType), ValueGradient = AttentionOperand.Of(valueGradient, query.DType),
            Lse = AttentionStatistic.Of(lse), LseGradient = AttentionStatistic.Of(lseGradient), Rows = AttentionStatistic.Of(rows, width: 2),
        };
        bool hasFeatures = AttentionProblem.HasFeatures(call);
        long queryBlocks = arguments.QueryList.Blocks(query.Shape[1], shape.Warps), keyBlocks = arguments.KeyList.Blocks(key.Shape[1], shape.Warps);
        if (queryBlocks > 0) Launch(AttentionQueriesKernel.With(query.DType, shape.Bucket, hasFeatures), queryBlocks, shape.Threads, in arguments, shape.QueryBytes);
        if (keyBlocks > 0 && (keyGradient.IsWanted || valueGradient.IsWanted))
        {
            KernelKey kernel = AttentionKeysKernel.With(query.DType, shape.Bucket, hasFeatures);
            foreach (int parts in (ReadOnlySpan<int>)(shape.SumsBoth ? [KeyPart | ValuePart] : [KeyPart, ValuePart]))
            {
                arguments.Parts = parts;
                if (parts == KeyPart && !keyGradient.IsWanted || parts == ValuePart && !valueGradient.IsWanted) continue;
                Launch(kernel, keyBlocks, shape.Threads, in arguments, shape.KeyBytes);
            }
        }
    }

    private void CheckAttention(AttentionCall call, Tensor query, Tensor key)
    {
        const string op = "Attention";
        RequireComputeType(op, query);
        int longest = call is { Query: { } queries, Key: { } keys } ? Math.Max(queries.MaxLength, keys.MaxLength) : Math.Max(query.Shape[2], key.Shape[2]);
        if (longest >= AttentionProblem.MaxLength) throw new NotSupportedException($"{op}: a sequence of {longest} tokens is too long for {Name}, whose kernels take fewer than {AttentionProblem.MaxLength}; cut it");
        if (call.Options.Dropout is { Probability: > 0 } dropout && dropout.State.Device != Device)
            throw new ArgumentException($"{op}: the dropout's state is on {dropout.State.Device}, the query on {Device}; make the state with new StepState({Device})", nameof(call));
    }
}
