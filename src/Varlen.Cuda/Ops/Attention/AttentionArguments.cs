using System.Runtime.InteropServices;
using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>One operand through its strides; the twin of <c>Operand</c> in attention.cuh.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AttentionOperand
{
    private const int VectorBytes = 16;

    public nint Data;
    public long Batch, Token, Head;
    public int IsVector, Type, Accumulate;
    public int Unused;

    /// <summary>Packed [tokens, heads, dim] or dense [batch, heads, tokens, dim].</summary>
    public static AttentionOperand Of(Tensor? tensor)
    {
        if (tensor is null) return default;
        bool isDense = tensor.Shape.Rank == 4;
        var operand = new AttentionOperand
        {
            Data = tensor.Pointer, Batch = isDense ? tensor.Strides[0] : 0, Token = tensor.Strides[isDense ? 2 : 0], Head = tensor.Strides[1], Type = (int)tensor.DType,
        };
        operand.IsVector = IsAligned(tensor) ? 1 : 0;
        return operand;
    }

    /// <summary>Where a gradient goes. Whole vectors are written only where nothing is converted or added.</summary>
    public static AttentionOperand Of(GradientTarget target, DType computeType)
    {
        AttentionOperand operand = Of(target.Tensor);
        operand.Accumulate = target.Accumulate ? 1 : 0;
        if (target.Accumulate || target.Tensor?.DType != computeType) operand.IsVector = 0;
        return operand;
    }

    /// <summary>Whether every row is made of aligned 16-byte vectors.</summary>
    public static bool IsAligned(Tensor tensor)
    {
        int size = tensor.DType.Size();
        if (tensor.Pointer % VectorBytes != 0 || tensor.Shape[-1] * size % VectorBytes != 0) return false;
        for (int i = 0; i < tensor.Shape.Rank - 1; i++)
            if (tensor.Shape[i] > 1 && tensor.Strides[i] * size % VectorBytes != 0) return false;
        return true;
    }
}

/// <summary>A number for each query and head, [heads, tokens] or [batch, heads, tokens]; the twin of <c>Statistic</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AttentionStatistic
{
    public nint Data;
    public long Batch, Head, Token;

    /// <param name="tensor">Single precision, or null.</param>
    /// <param name="width">Numbers of each query: a last dimension of this size.</param>
    public static AttentionStatistic Of(Tensor? tensor, int width = 1)
    {
        if (tensor is null) return default;
        int tokens = width == 1 ? 1 : 2;
        return new AttentionStatistic { Data = tensor.Pointer, Batch = tensor.Shape.Rank > tokens + 1 ? tensor.Strides[0] : 0, Head = tensor.Strides[^(tokens + 1)], Token = tensor.Strides[^tokens] };
    }
}

/// <summary>What a call asks for beside its operands; the twin of <c>Problem</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AttentionProblem
{
    /// <summary>Sequences are shorter than this, so that kernels count positions in 32 bits.</summary>
    public const int MaxLength = 1 << 29;

    public int QueryHeads, KeyHeads, Dim;
    public int Left, Right;
    public int IsBottomRight;
    public float Scale;
    public float Softcap;
    public nint Slopes;
    public int AreSlopesDouble;
    public int IsMaskBool;
    public nint Mask;
    public long MaskBatch, MaskHead, MaskQuery, MaskKey;
    public nint State;
    public uint Threshold;
    public int Layer;
    public float Keep;
    public int Unused;

    public static AttentionProblem Of(AttentionCall call, Tensor query, Tensor key, Tensor? mask)
    {
        AttentionOptions options = call.Options;
        var problem = new AttentionProblem
        {
            QueryHeads = query.Shape[1], KeyHeads = key.Shape[1], Dim = query.Shape[-1],
            Left = Bound(options.Window.Left), Right = Bound(options.Window.Right), IsBottomRight = options.Alignment == AttentionAlignment.BottomRight ? 1 : 0,
            Scale = (float)call.Scale, Softcap = (float)(options.Softcap ?? 0), Keep = 1,
        };
        if (options.AlibiSlopes is { } slopes) (problem.Slopes, problem.AreSlopesDouble) = (slopes.Pointer, slopes.DType == DType.Float64 ? 1 : 0);
        if (mask is not null)
        {
            Span<long> strides = stackalloc long[4];
            strides.Clear();
            for (int i = 1; i <= mask.Shape.Rank; i++) strides[4 - i] = mask.Shape[-i] == 1 ? 0 : mask.Strides[^i];
            (problem.Mask, problem.IsMaskBool) = (mask.Pointer, mask.DType == DType.Bool ? 1 : 0);
            (problem.MaskBatch, problem.MaskHead, problem.MaskQuery, problem.MaskKey) = (strides[0], strides[1], strides[2], strides[3]);
        }
        if (options.Dropout is { Probability: > 0 } dropout)
        {
            problem.State = dropout.State.Buffer.Pointer;
            problem.Threshold = (uint)Math.Min(Math.Floor(dropout.Probability * 4294967296.0), uint.MaxValue);
            problem.Layer = dropout.Layer;
            problem.Keep = (float)(1 / (1 - dropout.Probability));
        }
        return problem;
    }

    /// <summary>Whether scores are more than scaled products within a window.</summary>
    public static bool HasFeatures(AttentionCall call) =>
        call.MaskShape is not null || call.Options is { Softcap: > 0 } or { AlibiSlopes: not null } or { Dropout.Probability: > 0 };

    // No two positions are further apart, so wider is infinite.
    internal static int Bound(int bound) => bound is < 0 or >= MaxLength ? int.MaxValue : bound;
}

[StructLayout(LayoutKind.Sequential)]
internal struct AttentionForwardArguments
{
    public AttentionProblem Problem;
    public AttentionList List;
    public AttentionOperand Query, Key, Value, Output;
    public AttentionStatistic Lse;
    public nint Pages;
    public int PageSize, Columns;
}

[StructLayout(LayoutKind.Sequential)]
internal struct AttentionBackwardArguments
{
    public AttentionProblem Problem;
    public AttentionList QueryList, KeyList;
    public AttentionOperand Query, Key, Value, Output, OutputGradient, QueryGradient, KeyGradient, ValueGradient;
    public AttentionStatistic Lse, LseGradient, Rows;
    public int Parts;
    public int Unused;
}
