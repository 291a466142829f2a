using System.Numerics;
using System.Runtime.CompilerServices;
using Varlen.Autograd;
using Varlen.Nn;
using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed unsafe partial class CpuBackend : IGeluKernels
{
    public void GeluForward(Tensor input, Tensor? bias, GeluForm form, Tensor output)
    {
        switch (form, bias)
        {
            case (GeluForm.Exact, null): Map(default(ActivationOf<ExactGelu>), input, null, null, output); break;
            case (GeluForm.Tanh, null): Map(default(ActivationOf<TanhGelu>), input, null, null, output); break;
            case (GeluForm.Exact, _): Map(default(ActivationOfSum<ExactGelu>), input, bias, null, output); break;
            case (GeluForm.Tanh, _): Map(default(ActivationOfSum<TanhGelu>), input, bias, null, output); break;
        }
    }

    public void GeluBackward(Tensor outputGradient, Tensor input, Tensor? bias, GeluForm form, GradientTarget inputGradient, GradientTarget biasGradient)
    {
        if (form == GeluForm.Exact) ActivationBackward<ExactGelu>(outputGradient, input, bias, inputGradient, biasGradient);
        else ActivationBackward<TanhGelu>(outputGradient, input, bias, inputGradient, biasGradient);
    }

    private readonly struct ExactGelu : IActivation
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> x) where A : unmanaged, IBinaryFloatingPointIeee754<A> => x * VectorFunctions.NormalCdf(x, out _);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Gradient<A>(Vector<A> dy, Vector<A> x) where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            Vector<A> cdf = VectorFunctions.NormalCdf(x, out Vector<A> exponential);
            return dy * (cdf + x * exponential * A.CreateTruncating(0.398942280401432678));
        }
    }

    private readonly struct TanhGelu : IActivation
    {
        private const double SqrtTwoOverPi = 0.797884560802865356, Cubic = 0.044715;

        // (1 + tanh u) / 2 is the logistic function of 2u.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> x) where A : unmanaged, IBinaryFloatingPointIeee754<A> => x * Gate(x);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Gradient<A>(Vector<A> dy, Vector<A> x) where A : unmanaged, IBinaryFloatingPointIeee754<A>
        {
            Vector<A> s = Gate(x), slope = (Vector<A>.One + x * x * A.CreateTruncating(3 * Cubic)) * A.CreateTruncating(2 * SqrtTwoOverPi);
            return dy * (s + x * (s * (Vector<A>.One - s)) * slope);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector<A> Gate<A>(Vector<A> x) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => VectorFunctions.Sigmoid(x * (Vector<A>.One + x * x * A.CreateTruncating(Cubic)) * A.CreateTruncating(2 * SqrtTwoOverPi));
    }
}
