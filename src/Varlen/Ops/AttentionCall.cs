using Varlen.Autograd;

namespace Varlen.Ops;

/// <summary>
/// One checked attention call. Operands are packed, [tokens, heads, dim] with layouts, or dense, [batch, heads, tokens, dim] without;
/// kernels see both through strides.
/// </summary>
/// <param name="Query">Layout of the queries; null when dense.</param>
/// <param name="Key">Layout of the keys; null when dense.</param>
/// <param name="Options">Window, alignment and score options.</param>
/// <param name="Scale">The scale in force.</param>
/// <param name="MaskShape">Broadcast shape [batch, heads, queries, keys] of the dense mask, if there is one.</param>
/// <param name="KeyStarts">First key token of each sequence where keys lie with gaps, as in a cache; the key layout's offsets when null.</param>
/// <param name="Pages">The cache that keys lie in, if they do; read through its table where <paramref name="KeyStarts"/> is null.</param>
/// <param name="PageSize">Keys of a page.</param>
internal sealed record AttentionCall(SequenceLayout? Query, SequenceLayout? Key, AttentionOptions Options, double Scale, Shape? MaskShape = null, int[]? KeyStarts = null, KeyPages? Pages = null, int PageSize = 0)
{
    public bool IsDense => Query is null;

    /// <summary>Whether keys lie in a cache: a call without gradients.</summary>
    public bool IsCached => KeyStarts is not null || Pages is not null;

    /// <summary>The table that keys are found by; null when each sequence's lie in one piece.</summary>
    public KeyPages? Table => KeyStarts is null ? Pages : null;
}

internal interface IAttentionKernels
{
    /// <summary>Rows of the layouts' sequences; tokens behind the last one are left as they are, here and in the backward pass.</summary>
    void AttentionForward(AttentionCall call, Tensor query, Tensor key, Tensor value, Tensor? mask, Tensor output, Tensor lse);

    void AttentionBackward(AttentionCall call, Tensor query, Tensor key, Tensor value, Tensor? mask, Tensor output, Tensor lse,
        Tensor? outputGradient, Tensor? lseGradient, GradientTarget queryGradient, GradientTarget keyGradient, GradientTarget valueGradient);

    /// <summary>Which kernels the call would run on, and why.</summary>
    string ExplainAttention(AttentionCall call, Tensor query, Tensor key, Tensor value);
}

/// <summary>What packed and dense attention share: recording and argument checks.</summary>
internal static class Attention
{
    public const int MaxHeadDim = 256;

    /// <summary>Runs and records a checked call. The log-sum-exp is the second result and differentiable.</summary>
    public static (Tensor Output, Tensor Lse) Run(string op, AttentionCall call, Tensor query, Tensor key, Tensor value, Tensor? mask, Shape lseShape)
    {
        var kernels = Op.Require<IAttentionKernels>(op, query, key, value, mask, call.Options.AlibiSlopes);
        (query, key, value) = (DenseFeatures(query), DenseFeatures(key), DenseFeatures(value));
        Tensor output = Op.Like(query);
        Tensor lse = Tensor.Allocate(lseShape, Op.Accumulator(query.DType), query.Device);
        kernels.AttentionForward(call, query, key, value, mask, output, lse);
        if (call.Query is { } layout)
        {
            FillTail(output, layout, dimension: 0, 0);
            FillTail(lse, layout, dimension: 1, double.NegativeInfinity);
        }
        Op.RecordAll(op, [output, lse], [query, key, value], [query, key, value, mask, output, lse], pass => Backward(pass, kernels, call));
        return (output, lse);
    }

    private static void Backward(BackwardPass pass, IAttentionKernels kernels, AttentionCall call)
    {
        GradientTarget query = pass.InputGradient(0), key = pass.InputGradient(1), value = pass.InputGradient(2);
        kernels.AttentionBackward(
            call, pass.Saved(0), pass.Saved(1), pass.Saved(2), call.MaskShape is null ? null : pass.Saved(3), pass.Saved(4), pass.Saved(5), pass.OutputGradient(0), pass.OutputGradient(1), query, key, value);
        if (call is not { Query: { } queries, Key: { } keys }) return;
        ZeroTail(query, queries);
        ZeroTail(key, keys);
        ZeroTail(value, keys);
    }

    private static void ZeroTail(GradientTarget target, SequenceLayout layout)
    {
        // Where gradients are added up, tokens of no sequence add nothing.
        if (target is { Tensor: { } tensor, Accumulate: false }) FillTail(tensor, layout, dimension: 0, 0);
    }

    /// <summary>Gives tokens behind the last sequence, which no kernel touches, their value.</summary>
    private static void FillTail(Tensor tensor, SequenceLayout layout, int dimension, double value)
    {
        if (layout.Slot is { } slot)
        {
            // The next layout there covers another number of tokens.
            ElementwiseCopy.FillTail(tensor, dimension, slot.Covered, value);
            return;
        }
        int covered = layout.TotalTokens, tail = tensor.Shape[dimension] - covered;
        if (tail == 0) return;
        int[] sizes = tensor.Shape.Dimensions.ToArray();
        sizes[dimension] = tail;
        using Tensor rest = tensor.UntrackedView(new Shape(sizes), tensor.Strides.ToArray(), covered * tensor.Strides[dimension]);
        ElementwiseCopy.Fill(rest, value);
    }

    public static double CheckOptions(string op, AttentionOptions options, int queryHeads, int headDim)
    {
        double scale = options.Scale ?? 1 / Math.Sqrt(Math.Max(1, headDim));
        Op.Check(double.IsFinite(scale) && scale > 0, op, nameof(AttentionOptions.Scale), $"scale {scale} must be finite and positive");
        double softcap = options.Softcap ?? 0;
        Op.Check(double.IsFinite(softcap) && softcap >= 0, op, nameof(AttentionOptions.Softcap), $"softcap {softcap} must be finite and positive, or 0 for none");
        if (options.AlibiSlopes is { } slopes)
        {
            Op.Check(slopes.Shape.Rank == 1 && slopes.Shape[0] == queryHeads, op, nameof(AttentionOptions.AlibiSlopes), $"slopes {slopes.Shape} do not fit {queryHeads} query heads; expected [{queryHeads}]");
            Op.Check(slopes.DType is DType.Float32 or DType.Float64 && slopes.IsContiguous, op, nameof(AttentionOptions.AlibiSlopes), $"slopes must be dense Float32 or Float64, not {slopes.DType}");
            Op.Check(!slopes.RequiresGrad, op, nameof(AttentionOptions.AlibiSlopes), $"slopes take no gradient; pass slopes.Detach()");
        }
        if (options.Dropout is { } dropout)
        {
            Op.Check(dropout.Probability is >= 0 and < 1, op, nameof(AttentionDropout.Probability), $"dropout probability {dropout.Probability} is not in [0, 1)");
            Op.Check(dropout.Layer is >= 0 and < 65536, op, nameof(AttentionDropout.Layer), $"layer {dropout.Layer} is not in [0, 65536)");
        }
        return scale;
    }

    /// <summary>Checks element types, head counts and head dims; heads and dims are the given axes of each operand.</summary>
    public static void CheckOperands(string op, Tensor query, Tensor key, Tensor value, int rank, int headAxis, string form)
    {
        ArgumentNullException.ThrowIfNull(query);
        ArgumentNullException.ThrowIfNull(key);
        ArgumentNullException.ThrowIfNull(value);
        foreach ((Tensor operand, string parameter) in new[] { (query, nameof(query)), (key, nameof(key)), (value, nameof(value)) })
        {
            Op.Check(operand.Shape.Rank == rank, op, parameter, $"{parameter} is {operand.Shape}; expected {form}");
            Op.Check(operand.DType.IsFloatingPoint(), op, parameter, $"{parameter} is {operand.DType}, not a floating-point type");
            Op.SameType(op, query, operand, parameter);
        }
        int headDim = query.Shape[-1], queryHeads = query.Shape[headAxis], keyHeads = key.Shape[headAxis];
        Op.Check(headDim is >= 1 and <= MaxHeadDim, op, nameof(query), $"head dim {headDim} is not in 1..{MaxHeadDim}");
        Op.Check(key.Shape[-1] == headDim, op, nameof(key), $"key has head dim {key.Shape[-1]}, query has {headDim}");
        Op.Check(value.Shape == key.Shape, op, nameof(value), $"value is {value.Shape}, key is {key.Shape}; they must be equal");
        Op.Check(keyHeads > 0 ? queryHeads % keyHeads == 0 : queryHeads == 0, op, nameof(key), $"key has {keyHeads} heads, query has {queryHeads}; query heads must be a multiple");
    }

    /// <summary>A tensor whose features lie densely.</summary>
    public static Tensor DenseFeatures(Tensor operand) => operand.Strides[^1] == 1 || operand.Shape[-1] == 1 ? operand : operand.Contiguous();
}
