using System.Runtime.InteropServices;
using Varlen.Autograd;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>A packed tensor [tokens, heads, dim] with aligned rows, or a gradient's destination; the twin of <c>Rows</c> in attention_rows.cuh.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly struct AttentionRows(Tensor? tensor, bool accumulate = false)
{
    public readonly nint Data = tensor?.Pointer ?? 0;
    public readonly long Token = tensor?.Strides[0] ?? 0, Head = tensor?.Strides[1] ?? 0;
    public readonly int Type = (int)(tensor?.DType ?? 0);
    public readonly int Accumulate = accumulate ? 1 : 0;

    public AttentionRows(GradientTarget target) : this(target.Tensor, target.Accumulate)
    {
    }
}
