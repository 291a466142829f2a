using System.Runtime.InteropServices;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>The twin of <c>ShortProblem</c> in attention_short.cuh.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ShortProblem
{
    public nint List;
    public int QueryHeads, KeyHeads, Dim;
    public int Left, Right;
    public int IsBottomRight;
    public float Scale;
    public int Unused;
}

[StructLayout(LayoutKind.Sequential)]
internal struct ShortForwardArguments
{
    public ShortProblem Problem;
    public AttentionRows Query, Key, Value, Output;
    public nint Lse;
    public long LseHead;
}

[StructLayout(LayoutKind.Sequential)]
internal struct ShortBackwardArguments
{
    public ShortProblem Problem;
    public AttentionRows Query, Key, Value, OutputGradient, QueryGradient, KeyGradient, ValueGradient;
    public nint Lse, LseGradient;
    public long LseHead, LseGradientHead;
}
