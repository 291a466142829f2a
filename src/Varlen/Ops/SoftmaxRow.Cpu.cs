using System.Numerics;
using System.Runtime.CompilerServices;

namespace Varlen.Backends.Cpu;

/// <summary>The softmax of one row, in an order that depends on its length alone.</summary>
internal static unsafe class SoftmaxRow
{
    /// <summary>The largest value; NaN when there is one.</summary>
    public static A Max<A>(A* x, int length) where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        Vector<A> m0 = Vector.Create(A.NegativeInfinity), m1 = m0;
        int width = Vector<A>.Count, i = 0;
        for (; i <= length - 2 * width; i += 2 * width)
        {
            m0 = Vector.Max(m0, Vector.Load(x + i));
            m1 = Vector.Max(m1, Vector.Load(x + i + width));
        }
        m0 = Vector.Max(m0, m1);
        A max = A.NegativeInfinity;
        for (int lane = 0; lane < width; lane++) max = A.Max(max, m0[lane]);
        for (; i < length; i++) max = A.Max(max, x[i]);
        return max;
    }

    /// <summary>Sum of e^(x - max).</summary>
    public static A SumExp<A>(A* x, A max, int length) where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        Vector<A> m = Vector.Create(max), s0 = Vector<A>.Zero, s1 = s0;
        int width = Vector<A>.Count, i = 0;
        for (; i <= length - 2 * width; i += 2 * width)
        {
            s0 += VectorFunctions.Exp(Vector.Load(x + i) - m);
            s1 += VectorFunctions.Exp(Vector.Load(x + i + width) - m);
        }
        for (; i <= length - width; i += width) s0 += VectorFunctions.Exp(Vector.Load(x + i) - m);
        A sum = Vector.Sum(s0 + s1);
        if (i == length) return sum;
        Vector<A> tail = VectorFunctions.Exp(Partial(x + i, length - i) - m);
        for (int lane = 0; lane < length - i; lane++) sum += tail[lane];
        return sum;
    }

    /// <summary>y = e^(x - max) * factor; y may be x.</summary>
    public static void ScaledExp<A>(A* x, A max, A factor, A* y, int length) where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        Vector<A> m = Vector.Create(max), f = Vector.Create(factor);
        int i = 0;
        for (; i <= length - Vector<A>.Count; i += Vector<A>.Count) (VectorFunctions.Exp(Vector.Load(x + i) - m) * f).Store(y + i);
        if (i == length) return;
        Vector<A> tail = VectorFunctions.Exp(Partial(x + i, length - i) - m) * f;
        for (int lane = 0; i < length; i++, lane++) y[i] = tail[lane];
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<A> Partial<A>(A* x, int length) where A : unmanaged
    {
        Vector<A> values = Vector<A>.Zero;
        Unsafe.CopyBlockUnaligned(&values, x, (uint)(length * sizeof(A)));
        return values;
    }
}
