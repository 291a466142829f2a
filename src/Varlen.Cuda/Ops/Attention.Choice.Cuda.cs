using Varlen.Autograd;
using Varlen.Backends.Cuda.Attention;
using Varlen.Ops;

namespace Varlen.Backends.Cuda;

internal sealed partial class CudaBackend
{
    /// <summary>Leaves all kernels of attention out but the portable ones, to compare or test these.</summary>
    internal bool PortableAttentionOnly { get; set; }

    /// <summary>Families of kernels that can take a call; <see cref="AttentionChoice"/> divides its sequences among them.</summary>
    private AttentionFamilies FamiliesFor(AttentionCall call, Tensor query, Tensor key, Tensor value) => WhyNotShort(call, query, key, value) is not null ? AttentionFamilies.Portable
        : WhyNotHopper(query) is not null ? AttentionFamilies.Short
        : AttentionFamilies.Short | AttentionFamilies.Hopper;

    /// <summary>The same for a backward pass.</summary>
    private AttentionFamilies FamiliesFor(AttentionCall call, Tensor query, Tensor key, Tensor value, Tensor? outputGradient, params ReadOnlySpan<GradientTarget> targets)
    {
        if (outputGradient is null || !AttentionOperand.IsAligned(outputGradient)) return AttentionFamilies.Portable;
        foreach (GradientTarget target in targets)
            if (target.Tensor is { } tensor && !((tensor.DType == query.DType || tensor.DType == DType.Float32) && AttentionOperand.IsAligned(tensor))) return AttentionFamilies.Portable;
        AttentionFamilies families = FamiliesFor(call, query, key, value);
        // Both sum the queries' gradient by atomic additions.
        if (IsDeterministic(call)) return families & ~AttentionFamilies.Hopper;
        return !families.HasFlag(AttentionFamilies.Hopper) && WhyNotOnePass(call, query, key, value) is null ? families | AttentionFamilies.OnePass : families;
    }

    private bool IsDeterministic(AttentionCall call) => Deterministic || call.Options.Deterministic;

    private string? WhyNotShort(AttentionCall call, Tensor query, Tensor key, Tensor value) => PortableAttentionOnly ? "portable kernels only" : WhyNotPlain(call, query, key, value) ?? (query.Shape[-1] > 128 ? $"head dim {query.Shape[-1]}" : null);

    // Of calls without a gradient that must not be summed in any order.
    private string? WhyNotOnePass(AttentionCall call, Tensor query, Tensor key, Tensor value)
        => WhyNotPlain(call, query, key, value)
            ?? (query.Shape[-1] is not (64 or 128) ? $"head dim {query.Shape[-1]}"
            : OnePassLists.SharedBytes(query.Shape[-1]) > SharedMemoryPerBlock ? $"{SharedMemoryPerBlock} bytes of shared memory"
            : null);

    private static string? WhyNotPlain(AttentionCall call, Tensor query, Tensor key, Tensor value)
        => query.DType == DType.Float32 ? "single precision"
            : call.IsDense ? "dense operands"
            : call.Table is not null ? "keys on pages"
            : AttentionProblem.HasFeatures(call) ? "score features"
            : !(AttentionOperand.IsAligned(query) && AttentionOperand.IsAligned(key) && AttentionOperand.IsAligned(value)) ? "rows that are not 16-byte aligned"
            : null;

    // Of calls that the short kernels take.
    private string? WhyNotHopper(Tensor query) => Info.ComputeCapability.Major != 9 ? $"compute capability {Info.ComputeCapability}" : query.Shape[-1] is not (64 or 128) ? $"head dim {query.Shape[-1]}" : null;

    /// <summary>Which kernels a call runs on, and why.</summary>
    public string ExplainAttention(AttentionCall call, Tensor query, Tensor key, Tensor value)
    {
        CheckAttention(call, query, key);
        var shape = new AttentionShape(query.DType, query.Shape[-1]);
        (AttentionLists lists, bool isOwn) = AttentionLists.Of(this, call, shape, query, key, FamiliesFor(call, query, key, value));
        AttentionList list = lists.Forward;
        List<string> families = [];
        if (lists.Decode is { } parts)
            families.Add($"{parts.Sequences} sequences of up to {DecodeParts.MostQueries} queries over a cache on the decoding kernel, {parts.Count} parts of their keys{(call.Table is null ? "" : $" on pages of {call.PageSize}")}");
        if (WhyNotShort(call, query, key, value) is { } whyNot) families.Add($"no kernels but the portable ones for {whyNot}");
        else
        {
            families.Add(lists.Short is { } inOneBlock
                ? $"sequences of up to {AttentionChoice.LongestShort} tokens whole in one block ({inOneBlock.Fours} on 4 warps, {inOneBlock.Pairs} of up to 32 on 2, {inOneBlock.Singles} of up to 16 on one)"
                : $"no sequence of up to {AttentionChoice.LongestShort} tokens");
            if (WhyNotHopper(query) is { } reason) families.Add($"no kernels of compute capability 9.0 for {reason}");
            else if (lists.Hopper is { } hopper) families.Add($"longer ones on the kernels of compute capability 9.0 with {string.Join(" and ", hopper.Forward.Select(list => $"{list.Groups} warpgroups a tile ({list.Count} tiles)"))}");
        }
        if (lists.Hopper is null)
            families.Add((IsDeterministic(call) ? "deterministic mode" : WhyNotOnePass(call, query, key, value)) is { } two
                ? $"backward in two kernels for {two}"
                : $"backward of other sequences above {AttentionChoice.LongestSmall} tokens in one pass with atomic additions, {OnePassLists.KeyRows} keys x {OnePassLists.QueryRows} queries");
        string products = query.DType == DType.Float32 ? "single-precision FMA" : $"{query.DType} tensor cores";
        string[] scalar = [.. from operand in new[] { (Name: "query", Tensor: query), (Name: "key", Tensor: key), (Name: "value", Tensor: value) } where !AttentionOperand.IsAligned(operand.Tensor) select operand.Name];
        string loads = scalar.Length == 0 ? "16-byte copies" : $"element by element for {string.Join(", ", scalar)}: a row is no multiple of 16 bytes or starts off one";
        if (isOwn) lists.Dispose();
        return $"{string.Join("; ", families)}; {(list.Whole + list.Pairs + list.Singles == 0 ? "none on " : "")}portable kernels ({products}); head dim {query.Shape[-1]} in bucket {shape.Bucket}; "
            + $"{(AttentionProblem.HasFeatures(call) ? "with" : "without")} score features; {loads}; "
            + $"forward tiles of {shape.Rows * shape.Slabs} queries x {shape.ForwardKeys} keys, backward {shape.Rows} x {shape.Keys} and {shape.Rows} keys x {shape.Queries} queries; "
            + $"{list.Whole} tiles, {list.Pairs} sequences of up to 32 tokens on 2 warps, {list.Singles} of up to 16 on one";
    }
}
