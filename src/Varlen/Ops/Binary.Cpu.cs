using System.Numerics;
using System.Runtime.CompilerServices;
using Varlen.Autograd;
using Varlen.Ops;

namespace Varlen.Backends.Cpu;

internal sealed partial class CpuBackend : IBinaryKernels
{
    public void Binary(BinaryFunction function, Tensor first, Tensor second, Tensor output)
    {
        switch (function)
        {
            case BinaryFunction.Add: Run<SumOf>(); break;
            case BinaryFunction.Subtract: Run<DifferenceOf>(); break;
            case BinaryFunction.Multiply: Run<ProductOf>(); break;
            case BinaryFunction.Divide: Run<QuotientOf>(); break;
        }

        void Run<TFunction>() where TFunction : struct, IBinary => Map(default(BinaryForward<TFunction>), first, second, null, output);
    }

    public void BinaryBackward(BinaryFunction function, Tensor outputGradient, Tensor first, Tensor second, GradientTarget firstGradient, GradientTarget secondGradient)
    {
        switch (function)
        {
            case BinaryFunction.Add: Run<SumOf>(); break;
            case BinaryFunction.Subtract: Run<DifferenceOf>(); break;
            case BinaryFunction.Multiply: Run<ProductOf>(); break;
            case BinaryFunction.Divide: Run<QuotientOf>(); break;
        }

        void Run<TFunction>() where TFunction : struct, IBinary
            => Map(default(BinaryGradient<TFunction>), outputGradient.Shape, outputGradient, first, second, firstGradient, secondGradient);
    }

    public void AddScaled(Tensor destination, Tensor source, double scale) => Map(new ScaledSum { Scale = scale }, destination, source, null, destination);

    private interface IBinary
    {
        static abstract Vector<A> Value<A>(Vector<A> a, Vector<A> b) where A : unmanaged;
        static abstract void Gradient<A>(Vector<A> dy, Vector<A> a, Vector<A> b, out Vector<A> da, out Vector<A> db) where A : unmanaged;
    }

    private readonly struct BinaryForward<TFunction> : IElementwise where TFunction : struct, IBinary
    {
        public static int Inputs => 2;
        public static int Outputs => 1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => (y, z) = (TFunction.Value(a, b), default);
    }

    private readonly struct BinaryGradient<TFunction> : IElementwise where TFunction : struct, IBinary
    {
        public static int Inputs => 3;
        public static int Outputs => 2;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => TFunction.Gradient(a, b, c, out y, out z);
    }

    private readonly struct ScaledSum : IElementwise
    {
        public double Scale { get; init; }
        public static int Inputs => 2;
        public static int Outputs => 1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Invoke<A>(Vector<A> a, Vector<A> b, Vector<A> c, out Vector<A> y, out Vector<A> z) where A : unmanaged, IBinaryFloatingPointIeee754<A>
            => (y, z) = (a + b * A.CreateTruncating(Scale), default);
    }

    private readonly struct SumOf : IBinary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> a, Vector<A> b) where A : unmanaged => a + b;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Gradient<A>(Vector<A> dy, Vector<A> a, Vector<A> b, out Vector<A> da, out Vector<A> db) where A : unmanaged => (da, db) = (dy, dy);
    }

    private readonly struct DifferenceOf : IBinary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> a, Vector<A> b) where A : unmanaged => a - b;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Gradient<A>(Vector<A> dy, Vector<A> a, Vector<A> b, out Vector<A> da, out Vector<A> db) where A : unmanaged => (da, db) = (dy, -dy);
    }

    private readonly struct ProductOf : IBinary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> a, Vector<A> b) where A : unmanaged => a * b;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Gradient<A>(Vector<A> dy, Vector<A> a, Vector<A> b, out Vector<A> da, out Vector<A> db) where A : unmanaged => (da, db) = (dy * b, dy * a);
    }

    private readonly struct QuotientOf : IBinary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<A> Value<A>(Vector<A> a, Vector<A> b) where A : unmanaged => a / b;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Gradient<A>(Vector<A> dy, Vector<A> a, Vector<A> b, out Vector<A> da, out Vector<A> db) where A : unmanaged
        {
            da = dy / b;
            db = -da * (a / b);
        }
    }
}
