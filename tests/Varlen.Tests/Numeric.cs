using Xunit;

namespace Varlen.Tests;

/// <summary>Comparisons at the tolerances of docs/numerics.md.</summary>
internal static class Numeric
{
    /// <summary>Largest error allowed against a double-precision result: relative to the result's scale, by element type.</summary>
    /// <param name="dtype">The type that was computed in.</param>
    /// <param name="scale">Largest magnitude of the reference.</param>
    public static double Tolerance(DType dtype, double scale) => Math.Max(1, scale) * dtype switch
    {
        DType.Float64 => 1e-9,
        DType.Float32 => 3e-5,
        // One rounding of the inputs' type on the way in is in the reference already; the result is rounded once.
        DType.BFloat16 => 1.0 / 128,
        DType.Float16 => 1.0 / 1024,
        _ => 0,
    };

    public static void AssertClose(Tensor expected, Tensor actual, double? tolerance = null)
    {
        Assert.Equal(expected.Shape, actual.Shape);
        double[] e = expected.ToArray<double>(), a = actual.ToArray<double>();
        double scale = e.Length == 0 ? 0 : e.Where(double.IsFinite).Select(Math.Abs).DefaultIfEmpty().Max(), limit = tolerance ?? Tolerance(actual.DType, scale);
        for (int i = 0; i < e.Length; i++)
            if (!(Math.Abs(e[i] - a[i]) <= limit) && !e[i].Equals(a[i]))
                Assert.Fail($"element {i} of {expected.Shape}: expected {e[i]:R}, got {a[i]:R}, allowed error {limit:G3}");
    }

    public static void AssertSameBits(Tensor expected, Tensor actual)
    {
        Assert.Equal(expected.Shape, actual.Shape);
        Assert.Equal(expected.DType, actual.DType);
        Assert.Equal(expected.ToArray<double>(), actual.ToArray<double>());
    }

    /// <summary>A fresh seed for a test, to be named in its failure.</summary>
    public static int FreshSeed() => Random.Shared.Next();
}
