using System.Runtime.InteropServices;
using Varlen.Autograd;

namespace Varlen.Backends.Cuda;

/// <summary>A dense gradient destination as kernels take it: the twin of <c>Target</c> in kernel.cuh.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly struct TargetArgument
{
    public readonly nint Data;
    public readonly int Type;
    public readonly int Accumulate;

    private TargetArgument(GradientTarget target) => (Data, Type, Accumulate) = (target.Tensor!.Pointer, (int)target.Tensor.DType, target.Accumulate ? 1 : 0);

    public static TargetArgument From(GradientTarget target) => target.IsWanted ? new TargetArgument(target) : default;
}
