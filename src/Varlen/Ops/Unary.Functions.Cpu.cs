using System.Numerics;
using System.Runtime.CompilerServices;

namespace Varlen.Backends.Cpu;

internal sealed partial class CpuBackend
{
    private readonly struct ConstantAdded : IUnary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> x, Vector<A> c) where A : unmanaged => x + c;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Gradient<A>(Vector<A> dy, Vector<A> saved, Vector<A> c) where A : unmanaged => dy;
    }

    private readonly struct SubtractedFrom : IUnary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> x, Vector<A> c) where A : unmanaged => c - x;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Gradient<A>(Vector<A> dy, Vector<A> saved, Vector<A> c) where A : unmanaged => -dy;
    }

    private readonly struct Scaled : IUnary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> x, Vector<A> c) where A : unmanaged => c * x;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Gradient<A>(Vector<A> dy, Vector<A> saved, Vector<A> c) where A : unmanaged => c * dy;
    }

    private readonly struct DividedBy : IUnary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> x, Vector<A> c) where A : unmanaged => x / c;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Gradient<A>(Vector<A> dy, Vector<A> saved, Vector<A> c) where A : unmanaged => dy / c;
    }

    private readonly struct DividedInto : IUnary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> x, Vector<A> c) where A : unmanaged => c / x;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Gradient<A>(Vector<A> dy, Vector<A> x, Vector<A> c) where A : unmanaged => -dy * (c / x) / x;
    }

    private readonly struct ExpOf : IUnary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> x, Vector<A> c) where A : unmanaged => VectorFunctions.Exp(x);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Gradient<A>(Vector<A> dy, Vector<A> saved, Vector<A> c) where A : unmanaged => dy * saved;
    }

    private readonly struct LogOf : IUnary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> x, Vector<A> c) where A : unmanaged => VectorFunctions.Log(x);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Gradient<A>(Vector<A> dy, Vector<A> x, Vector<A> c) where A : unmanaged => dy / x;
    }

    private readonly struct SqrtOf : IUnary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> x, Vector<A> c) where A : unmanaged => Vector.SquareRoot(x);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Gradient<A>(Vector<A> dy, Vector<A> y, Vector<A> c) where A : unmanaged => dy / (y + y);
    }

    private readonly struct TanhOf : IUnary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> x, Vector<A> c) where A : unmanaged => VectorFunctions.Tanh(x);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Gradient<A>(Vector<A> dy, Vector<A> y, Vector<A> c) where A : unmanaged => dy * (Vector<A>.One - y * y);
    }

    private readonly struct SigmoidOf : IUnary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> x, Vector<A> c) where A : unmanaged => VectorFunctions.Sigmoid(x);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Gradient<A>(Vector<A> dy, Vector<A> y, Vector<A> c) where A : unmanaged => dy * (y * (Vector<A>.One - y));
    }

    private readonly struct ReluOf : IUnary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> x, Vector<A> c) where A : unmanaged => Vector.ConditionalSelect(Vector.LessThan(x, Vector<A>.Zero), Vector<A>.Zero, x);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Gradient<A>(Vector<A> dy, Vector<A> y, Vector<A> c) where A : unmanaged => Vector.ConditionalSelect(Vector.GreaterThan(y, Vector<A>.Zero), dy, Vector<A>.Zero);
    }

    private readonly struct SiluOf : IUnary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> x, Vector<A> c) where A : unmanaged => x * VectorFunctions.Sigmoid(x);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Gradient<A>(Vector<A> dy, Vector<A> x, Vector<A> c) where A : unmanaged
        {
            Vector<A> s = VectorFunctions.Sigmoid(x);
            return dy * (s + x * s * (Vector<A>.One - s));
        }
    }
}
