using System.Numerics;
using System.Runtime.CompilerServices;

namespace Varlen.Backends.Cpu;

/// <summary>
/// Elementary functions of a vector of either arithmetic type: single precision to a few units in the last place with polynomials,
/// double precision to full accuracy. A lane's result depends on its value alone, and NaN goes in and comes out.
/// </summary>
internal static partial class VectorFunctions
{
    /// <summary>e^x.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<A> Exp<A>(Vector<A> x) where A : unmanaged
        => typeof(A) == typeof(float) ? Vector.As<float, A>(Exp(Vector.As<A, float>(x))) : Vector.As<double, A>(Vector.Exp(Vector.As<A, double>(x)));

    /// <summary>e^x as an intermediate value: results below the least normal number are 0, those above 2^127.5 infinity. Cheaper.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<A> ExpWithoutDenormals<A>(Vector<A> x) where A : unmanaged
        => typeof(A) == typeof(float) ? Vector.As<float, A>(ExpWithoutDenormals(Vector.As<A, float>(x))) : Vector.As<double, A>(Vector.Exp(Vector.As<A, double>(x)));

    /// <summary>Natural logarithm.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<A> Log<A>(Vector<A> x) where A : unmanaged
        => typeof(A) == typeof(float) ? Vector.As<float, A>(Vector.Log(Vector.As<A, float>(x))) : Vector.As<double, A>(Vector.Log(Vector.As<A, double>(x)));

    /// <summary>1 / (1 + e^-x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<A> Sigmoid<A>(Vector<A> x) where A : unmanaged => Vector<A>.One / (Vector<A>.One + ExpWithoutDenormals(-x));

    /// <summary>Hyperbolic tangent.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<A> Tanh<A>(Vector<A> x) where A : unmanaged
        => typeof(A) == typeof(float) ? Vector.As<float, A>(Tanh(Vector.As<A, float>(x))) : Vector.As<double, A>(Tanh(Vector.As<A, double>(x)));

    /// <summary>a * b + c, fused where the machine fuses.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector<float> Fma(Vector<float> a, Vector<float> b, float c) => Vector.MultiplyAddEstimate(a, b, new Vector<float>(c));

    // The value comes second: where the machine's minimum is not IEEE's, it gives the second operand if either is NaN.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<float> Limit(Vector<float> x, float low, float high)
        => Vector.MinNative(new Vector<float>(high), Vector.MaxNative(new Vector<float>(low), x));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<float> Exp(Vector<float> x)
    {
        // Outside of these limits the result is 0 or infinity.
        Vector<float> p = Reduced(Limit(x, -105f, 89f), out Vector<int> exponent);
        // Two factors: one alone could not reach denormal results, nor 2^128.
        Vector<int> half = exponent >> 1;
        return p * PowerOfTwo(half) * PowerOfTwo(exponent - half);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<float> ExpWithoutDenormals(Vector<float> x)
        // At the limits the exponent's field is 0 or all ones, which makes the factor 0 or infinity.
        => Reduced(Limit(x, -88.02969f, 88.7228f), out Vector<int> exponent) * PowerOfTwo(exponent);

    /// <summary>e^r with x = exponent * ln 2 + r and |r| up to ln(2) / 2.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<float> Reduced(Vector<float> x, out Vector<int> exponent)
    {
        // Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the sum.
        Vector<float> magic = new(12582912f);
        Vector<float> shifted = Vector.MultiplyAddEstimate(x, new Vector<float>(1.44269504f), magic);
        Vector<float> n = shifted - magic;
        exponent = Vector.AsVectorInt32(shifted) - Vector.AsVectorInt32(magic);
        // ln 2 in two parts, the first with few bits, so that n times it is exact.
        Vector<float> r = Vector.MultiplyAddEstimate(n, new Vector<float>(-0.693359375f), x);
        r = Vector.MultiplyAddEstimate(n, new Vector<float>(2.12194440e-4f), r);
        // Minimax of (e^r - 1 - r) / r^2.
        Vector<float> p = Fma(new Vector<float>(0.001392677634f), r, 0.008363255675f);
        p = Fma(p, r, 0.04166654955f);
        p = Fma(p, r, 0.1666657653f);
        p = Fma(p, r, 0.5f);
        return Vector.MultiplyAddEstimate(p, r * r, r) + Vector<float>.One;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<float> PowerOfTwo(Vector<int> exponent) => Vector.AsVectorSingle((exponent + new Vector<int>(127)) << 23);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<float> Tanh(Vector<float> x)
    {
        Vector<float> one = Vector<float>.One;
        // 1 - 2 / (e^2x + 1) cancels near zero, where an odd polynomial (minimax for x^2 up to 0.4) takes over.
        Vector<float> large = one - new Vector<float>(2f) / (ExpWithoutDenormals(x + x) + one);
        Vector<float> z = x * x;
        Vector<float> p = Fma(new Vector<float>(-0.006045165097f), z, 0.02096132911f);
        p = Fma(p, z, -0.05384326318f);
        p = Fma(p, z, 0.1333271885f);
        p = Fma(p, z, -0.3333332843f);
        Vector<float> small = Vector.MultiplyAddEstimate(p * z, x, x);
        return Vector.ConditionalSelect(Vector.LessThan(z, new Vector<float>(0.39f)), small, large);
    }

    private static Vector<double> Tanh(Vector<double> x)
    {
        Vector<double> y = default;
        for (int i = 0; i < Vector<double>.Count; i++) y = y.WithElement(i, Math.Tanh(x[i]));
        return y;
    }
}
