using System.Numerics;
using System.Runtime.CompilerServices;

namespace Varlen.Backends.Cpu;

/// <summary>The softmax of one row, in an order that depends on its length alone.</summary>
internal static unsafe class SoftmaxRow
{
    /// <summary>The largest value, NaN aside: a NaN shows in the sum of exponentials.</summary>
    public static A Max<A>(A* x, int length) where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        Vector<A> m0 = Vector.Create(A.NegativeInfinity), m1 = m0, m2 = m0, m3 = m0;
        int width = Vector<A>.Count, i = 0;
        for (; i <= length - 4 * width; i += 4 * width)
        {
            m0 = Larger(m0, Vector.Load(x + i));
            m1 = Larger(m1, Vector.Load(x + i + width));
            m2 = Larger(m2, Vector.Load(x + i + 2 * width));
            m3 = Larger(m3, Vector.Load(x + i + 3 * width));
        }
        m0 = Larger(Larger(m0, m1), Larger(m2, m3));
        A max = m0[0];
        for (int lane = 1; lane < width; lane++) max = m0[lane] > max ? m0[lane] : max;
        for (; i < length; i++) max = x[i] > max ? x[i] : max;
        return max;
    }

    /// <summary>Sum of e^(x - max).</summary>
    public static A SumExp<A>(A* x, A max, int length) where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        Vector<A> m = Vector.Create(max), s0 = Vector<A>.Zero, s1 = s0;
        int width = Vector<A>.Count, i = 0;
        for (; i <= length - 2 * width; i += 2 * width)
        {
            s0 += Exp(Vector.Load(x + i) - m);
            s1 += Exp(Vector.Load(x + i + width) - m);
        }
        for (; i <= length - width; i += width) s0 += Exp(Vector.Load(x + i) - m);
        A sum = Vector.Sum(s0 + s1);
        if (i == length) return sum;
        Vector<A> tail = Exp(Partial(x + i, length - i) - m);
        for (int lane = 0; lane < length - i; lane++) sum += tail[lane];
        return sum;
    }

    /// <summary>x = e^(x - max), and its sum with the bits of <see cref="SumExp"/>: scaled by a factor, x has those of <see cref="ScaledExp"/>.</summary>
    public static A StoreExp<A>(A* x, A max, int length) where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        Vector<A> m = Vector.Create(max), s0 = Vector<A>.Zero, s1 = s0;
        int width = Vector<A>.Count, i = 0;
        for (; i <= length - 2 * width; i += 2 * width)
        {
            Vector<A> e0 = Exp(Vector.Load(x + i) - m), e1 = Exp(Vector.Load(x + i + width) - m);
            e0.Store(x + i);
            e1.Store(x + i + width);
            s0 += e0;
            s1 += e1;
        }
        for (; i <= length - width; i += width)
        {
            Vector<A> e = Exp(Vector.Load(x + i) - m);
            e.Store(x + i);
            s0 += e;
        }
        A sum = Vector.Sum(s0 + s1);
        if (i == length) return sum;
        Vector<A> tail = Exp(Partial(x + i, length - i) - m);
        for (int lane = 0; i < length; i++, lane++) sum += x[i] = tail[lane];
        return sum;
    }

    /// <summary>x = x * factor.</summary>
    public static void Scale<A>(A* x, A factor, int length) where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        Vector<A> f = Vector.Create(factor);
        int i = 0;
        for (; i <= length - Vector<A>.Count; i += Vector<A>.Count) (Vector.Load(x + i) * f).Store(x + i);
        for (; i < length; i++) x[i] *= factor;
    }

    /// <summary>y = e^(x - max) * factor; y may be x.</summary>
    public static void ScaledExp<A>(A* x, A max, A factor, A* y, int length) where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        Vector<A> m = Vector.Create(max), f = Vector.Create(factor);
        int i = 0;
        for (; i <= length - Vector<A>.Count; i += Vector<A>.Count) (Exp(Vector.Load(x + i) - m) * f).Store(y + i);
        if (i == length) return;
        Vector<A> tail = Exp(Partial(x + i, length - i) - m) * f;
        for (int lane = 0; i < length; i++, lane++) y[i] = tail[lane];
    }

    // A comparison and a blend: the IEEE maximum, with its cases for NaN and signed zeros, takes many times as long.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<A> Larger<A>(Vector<A> a, Vector<A> b) => Vector.ConditionalSelect(Vector.GreaterThan(b, a), b, a);

    // Below e^-69 (1e-30; e^-690 in double precision) counts as zero: it is far under the rounding of the row's sum, and matrix products
    // with denormal numbers take many times as long.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<A> Exp<A>(Vector<A> x) where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        Vector<A> negligible = Vector.LessThan(x, Vector.Create(A.CreateTruncating(typeof(A) == typeof(float) ? -69 : -690)));
        return Vector.ConditionalSelect(negligible, Vector<A>.Zero, VectorFunctions.Exp(Vector.ConditionalSelect(negligible, Vector<A>.Zero, x)));
    }

    private static Vector<A> Partial<A>(A* x, int length) where A : unmanaged
    {
        Vector<A> values = Vector<A>.Zero;
        Unsafe.CopyBlockUnaligned(&values, x, (uint)(length * sizeof(A)));
        return values;
    }
}
