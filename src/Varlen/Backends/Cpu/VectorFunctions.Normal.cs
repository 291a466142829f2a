using System.Numerics;
using System.Runtime.CompilerServices;

namespace Varlen.Backends.Cpu;

internal static partial class VectorFunctions
{
    /// <summary>
    /// Upper tail of the standard normal distribution over its density's exponential, <c>(1 - cdf(a)) * e^(a^2 / 2)</c>, as a Chebyshev
    /// series of <c>t = 1 / (1 + a / 5)</c> over [1/9, 1], which is a from 0 to 40; divided by t.
    /// </summary>
    private static ReadOnlySpan<double> TailSeries =>
    [
        0.228761385217493804, 0.18769547803980855, 0.0623932199051072685, 0.0168550867987265662, 0.00363550017758076677, 0.00059497535798925895,
        0.0000637037929397385167, 1.56984272853420938e-6, -8.04159039403197e-7, -1.21050253540291643e-7, 3.30864988215031386e-9, 2.71834727702810439e-9,
        1.09271266358312074e-10, -5.59347611838560957e-11, -4.7871764576935791e-12, 1.26467888681035654e-12, 1.43468740301161814e-13, -3.34500577167399076e-14,
        -3.80691673661600081e-15, 1.02414684883856218e-15, 8.77341303649086005e-17, -3.42982200988090747e-17,
    ];

    /// <summary>Cumulative distribution of the standard normal distribution, <c>(1 + erf(x / sqrt 2)) / 2</c>, accurate relative to itself in both tails.</summary>
    /// <param name="x">Where.</param>
    /// <param name="exponential"><c>e^(-x^2 / 2)</c>, which is computed on the way and is what the density needs.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<A> NormalCdf<A>(Vector<A> x, out Vector<A> exponential) where A : unmanaged
    {
        Vector<A> tail;
        if (typeof(A) == typeof(float))
        {
            Vector<float> v = Vector.As<A, float>(x), e = ExpWithoutDenormals(new Vector<float>(-0.5f) * v * v);
            exponential = Vector.As<float, A>(e);
            tail = Vector.As<float, A>(e * TailRatio(Vector.MinNative(Vector.Abs(v), new Vector<float>(15f))));
        }
        else
        {
            Vector<double> v = Vector.As<A, double>(x), e = Vector.Exp(new Vector<double>(-0.5) * v * v);
            exponential = Vector.As<double, A>(e);
            tail = Vector.As<double, A>(e * TailRatio(Vector.Abs(v)));
        }
        return Vector.ConditionalSelect(Vector.GreaterThan(x, Vector<A>.Zero), Vector<A>.One - tail, tail);
    }

    /// <summary>As <see cref="TailSeries"/>, a polynomial of <c>t = 1 / (1 + a / 4)</c> for a up to 15: relative error below 2e-7.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<float> TailRatio(Vector<float> a)
    {
        Vector<float> t = Vector<float>.One / Fma(a, new Vector<float>(0.25f), 1f);
        Vector<float> p = Fma(new Vector<float>(0.02783552135f), t, -0.1626800955f);
        p = Fma(p, t, 0.3156093329f);
        p = Fma(p, t, -0.2269314843f);
        p = Fma(p, t, 0.2155007891f);
        p = Fma(p, t, 0.02747558179f);
        p = Fma(p, t, 0.10503097f);
        p = Fma(p, t, 0.09835330593f);
        p = Fma(p, t, 0.09980606944f);
        return p * t;
    }

    private static Vector<double> TailRatio(Vector<double> a)
    {
        // Beyond 40 the exponential is zero.
        a = Vector.ConditionalSelect(Vector.GreaterThan(a, new Vector<double>(40)), new Vector<double>(40), a);
        Vector<double> t = Vector<double>.One / (Vector<double>.One + new Vector<double>(0.2) * a);
        // Clenshaw's recurrence, on [1/9, 1] mapped to [-1, 1].
        Vector<double> u = new Vector<double>(2.25) * t - new Vector<double>(1.25), twice = u + u, b = default, before = default;
        for (int k = TailSeries.Length - 1; k > 0; k--) (b, before) = (twice * b - before + new Vector<double>(TailSeries[k]), b);
        return (u * b - before + new Vector<double>(TailSeries[0])) * t;
    }
}
