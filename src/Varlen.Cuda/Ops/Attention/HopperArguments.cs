using System.Runtime.InteropServices;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>The twin of hopper_forward.cu's arguments; padded to the alignment of its maps.</summary>
[StructLayout(LayoutKind.Sequential, Size = 576)]
internal struct HopperForwardArguments
{
    public TensorMap Query, Key, Value, Output;
    public nint List, Lse;
    public long LseStride;
    public int Heads, Group;
    public int Left, Right;
    public int QueryRows, KeyRows;
    public float Scale, ScaleLog2;
}

[StructLayout(LayoutKind.Sequential)]
internal struct HopperPrepareArguments
{
    public nint Output, OutputGradient, Lse, LseGradient, RowLse, RowDelta, Workspace, Sequences, BlockSequence;
    public long OutputToken, OutputHead, GradientToken, GradientHead, LseStride, LseGradientStride, PaddedRows;
    public nint Ticket;
    public int Heads, Padding;
}

/// <summary>The twin of hopper_backward.cu's arguments; padded to the alignment of its maps.</summary>
[StructLayout(LayoutKind.Sequential, Size = 704)]
internal struct HopperBackwardArguments
{
    public TensorMap Query, Key, Value, OutputGradient;
    public nint Tiles, Ticket, RowLse, RowDelta, QueryGradient;
    public AttentionRows KeyGradient, ValueGradient;
    public long PaddedRows;
    public int KeyHeads, Group;
    public int Left, Right;
    public int QueryRows, KeyRows;
    public int Works;
    public float Scale;
}

[StructLayout(LayoutKind.Sequential)]
internal struct HopperFinishArguments
{
    public nint Workspace;
    public AttentionRows QueryGradient;
    public nint Sequences, BlockSequence;
    public long PaddedRows;
    public int Heads;
    public float Scale;
}
