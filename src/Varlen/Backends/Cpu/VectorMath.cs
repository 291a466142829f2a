using System.Runtime.CompilerServices;

namespace Varlen.Backends.Cpu;

/// <summary>Elementary functions on vectors of any width, for use inside kernels: no calls, no tables, no static fields.</summary>
internal static class VectorMath
{
    /// <summary>
    /// 2^x for x up to 127, relative error about 1e-7; exactly 1 at 0 and exactly 0 below -126.5, minus infinity included. NaN stays NaN.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static V Exp2<V, S>(V x) where V : unmanaged where S : ISimd<V>
    {
        // The lower limit makes the exponent field zero, so what has underflowed is 0 and never a slow denormal.
        x = S.MaxOrSecond(S.Set(-127f), x);
        // Adding 1.5 * 2^23 leaves round(x) in the low bits; the further 127 biases it into an exponent.
        V magic = S.Set(12582912f + 127f);
        V biased = S.Add(x, magic);
        V r = S.Subtract(x, S.Subtract(biased, magic));
        // Minimax of (2^r - 1) / r on [-1/2, 1/2].
        V p = S.Fma(S.Set(0.00015594678f), r, S.Set(0.0013406643f));
        p = S.Fma(p, r, S.Set(0.009617693f));
        p = S.Fma(p, r, S.Set(0.055503104f));
        p = S.Fma(p, r, S.Set(0.24022652f));
        p = S.Fma(p, r, S.Set(0.69314724f));
        p = S.Fma(p, r, S.Set(1f));
        return S.Multiply(p, S.ShiftToExponent(biased));
    }

    /// <summary>tanh(x), relative error below 1e-6 everywhere; NaN stays NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static V Tanh<V, S>(V x) where V : unmanaged where S : ISimd<V>
    {
        V one = S.Set(1f), zero = S.Zero;
        V a = S.Abs(x);
        // Beyond 10 the result is 1 in single precision; the limit also keeps the exponential finite.
        V limited = S.SelectLessOrEqual(S.Set(10f), a, S.Set(10f), a);
        V e = Exp2<V, S>(S.Multiply(limited, S.Set(2.88539008f)));
        V large = S.Subtract(one, S.Divide(S.Set(2f), S.Add(e, one)));
        large = S.SelectLessOrEqual(zero, x, large, S.Subtract(zero, large));
        // Near zero the quotient cancels, so an odd polynomial takes over.
        V z = S.Multiply(x, x);
        V p = S.Fma(S.Set(-6.18230736e-3f), z, S.Set(2.10870933e-2f));
        p = S.Fma(p, z, S.Set(-5.38792222e-2f));
        p = S.Fma(p, z, S.Set(1.3333039e-1f));
        p = S.Fma(p, z, S.Set(-3.33333324e-1f));
        V small = S.Fma(S.Multiply(p, z), x, x);
        return S.SelectLessOrEqual(a, S.Set(0.625f), small, large);
    }
}
