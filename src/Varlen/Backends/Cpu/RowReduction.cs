using System.Numerics;

namespace Varlen.Backends.Cpu;

/// <summary>An associative operation with a neutral element.</summary>
internal interface IReduction
{
    static abstract A Identity<A>() where A : unmanaged, IBinaryFloatingPointIeee754<A>;
    static abstract A Combine<A>(A a, A b) where A : unmanaged, IBinaryFloatingPointIeee754<A>;
    static abstract Vector<A> Combine<A>(Vector<A> a, Vector<A> b) where A : unmanaged, IBinaryFloatingPointIeee754<A>;
}

internal readonly struct SumReduction : IReduction
{
    public static A Identity<A>() where A : unmanaged, IBinaryFloatingPointIeee754<A> => A.Zero;
    public static A Combine<A>(A a, A b) where A : unmanaged, IBinaryFloatingPointIeee754<A> => a + b;
    public static Vector<A> Combine<A>(Vector<A> a, Vector<A> b) where A : unmanaged, IBinaryFloatingPointIeee754<A> => a + b;
}

internal readonly struct MaxReduction : IReduction
{
    public static A Identity<A>() where A : unmanaged, IBinaryFloatingPointIeee754<A> => A.NegativeInfinity;
    public static A Combine<A>(A a, A b) where A : unmanaged, IBinaryFloatingPointIeee754<A> => A.Max(a, b);
    public static Vector<A> Combine<A>(Vector<A> a, Vector<A> b) where A : unmanaged, IBinaryFloatingPointIeee754<A> => Vector.Max(a, b);
}

/// <summary>A reduction of one row of dense values, in an order that depends on their number alone.</summary>
internal static unsafe class RowReduction<TReduction> where TReduction : struct, IReduction
{
    public static A Of<A>(A* values, int n) where A : unmanaged, IBinaryFloatingPointIeee754<A>
    {
        // Several chains, for latency and for accuracy.
        Vector<A> v0 = new(TReduction.Identity<A>()), v1 = v0, v2 = v0, v3 = v0;
        int i = 0, step = Vector<A>.Count;
        for (; i <= n - 4 * step; i += 4 * step)
        {
            v0 = TReduction.Combine(v0, Vector.Load(values + i));
            v1 = TReduction.Combine(v1, Vector.Load(values + i + step));
            v2 = TReduction.Combine(v2, Vector.Load(values + i + 2 * step));
            v3 = TReduction.Combine(v3, Vector.Load(values + i + 3 * step));
        }
        for (; i <= n - step; i += step) v0 = TReduction.Combine(v0, Vector.Load(values + i));
        v0 = TReduction.Combine(TReduction.Combine(v0, v1), TReduction.Combine(v2, v3));
        A total = v0[0];
        for (int lane = 1; lane < step; lane++) total = TReduction.Combine(total, v0[lane]);
        for (; i < n; i++) total = TReduction.Combine(total, values[i]);
        return total;
    }
}
