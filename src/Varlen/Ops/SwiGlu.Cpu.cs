using System.Numerics;
using System.Runtime.CompilerServices;
using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed partial class CpuBackend : ISwiGluKernels
{
    public void SwiGluForward(Tensor gate, Tensor up, Tensor output) => Map(default(GatedProduct), gate, up, null, output);

    public void SwiGluBackward(Tensor outputGradient, Tensor gate, Tensor up, GradientTarget gateGradient, GradientTarget upGradient)
        => Map(default(GatedProductGradient), gate.Shape, outputGradient, gate, up, gateGradient, upGradient);

    private readonly struct GatedProduct : IElementwise
    {
        public static int Inputs => 2;
        public static int Outputs => 1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => (y, z) = (a * VectorFunctions.Sigmoid(a) * b, default);
    }

    /// <summary>From the output's gradient, the gate and the up projection.</summary>
    private readonly struct GatedProductGradient : IElementwise
    {
        public static int Inputs => 3;
        public static int Outputs => 2;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            Vector<A> s = VectorFunctions.Sigmoid(b), silu = b * s;
            y = a * c * (s + silu * (Vector<A>.One - s));
            z = a * silu;
        }
    }
}
