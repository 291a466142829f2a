using System.Runtime.InteropServices;
using Varlen.Autograd;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>The twin of hopper_forward.cu's arguments; padded to the alignment of its maps.</summary>
[StructLayout(LayoutKind.Sequential, Size = 576)]
internal struct HopperForwardArguments
{
    public TensorMap Query, Key, Value, Output;
    public nint Tiles, Lse;
    public long LseStride;
    public int Heads, Group;
    public int Left, Right;
    public int QueryRows, KeyRows;
    public float Scale;
}

/// <summary>A gradient's destination, [tokens, heads, dim] with aligned rows; the twin of <c>Rows</c> in hopper_backward.cu.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly struct HopperRows(GradientTarget target)
{
    public readonly nint Data = target.Tensor?.Pointer ?? 0;
    public readonly long Token = target.Tensor?.Strides[0] ?? 0, Head = target.Tensor?.Strides[1] ?? 0;
    public readonly int Type = (int)(target.Tensor?.DType ?? 0);
    public readonly int Accumulate = target.Accumulate ? 1 : 0;
}

[StructLayout(LayoutKind.Sequential)]
internal struct HopperPrepareArguments
{
    public nint Output, OutputGradient, Lse, LseGradient, RowLse, RowDelta, Workspace, Sequences, BlockSequence;
    public long OutputToken, OutputHead, GradientToken, GradientHead, LseStride, LseGradientStride, PaddedRows;
    public int Heads, Padding;
}

/// <summary>The twin of hopper_backward.cu's arguments; padded to the alignment of its maps.</summary>
[StructLayout(LayoutKind.Sequential, Size = 704)]
internal struct HopperBackwardArguments
{
    public TensorMap Query, Key, Value, OutputGradient;
    public nint Tiles, RowLse, RowDelta, QueryGradient;
    public HopperRows KeyGradient, ValueGradient;
    public long PaddedRows;
    public int KeyHeads, Group;
    public int Left, Right;
    public int QueryRows, KeyRows;
    public float Scale;
    public int Padding;
}

[StructLayout(LayoutKind.Sequential)]
internal struct HopperFinishArguments
{
    public nint Workspace;
    public HopperRows QueryGradient;
    public nint Sequences, BlockSequence;
    public long PaddedRows;
    public int Heads;
    public float Scale;
}
