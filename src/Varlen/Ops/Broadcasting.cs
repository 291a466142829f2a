using Varlen.Autograd;

namespace Varlen.Ops;

/// <summary>NumPy's rule: shapes are lined up at the end, and a size of 1 or a missing dimension repeats.</summary>
internal static class Broadcasting
{
    /// <summary>The shape that two shapes broadcast to.</summary>
    /// <exception cref="ArgumentException">Two sizes differ and neither is 1.</exception>
    public static Shape Common(string op, Shape first, Shape second, string parameter)
    {
        if (first == second) return first;
        var sizes = new int[Math.Max(first.Rank, second.Rank)];
        for (int fromEnd = 1; fromEnd <= sizes.Length; fromEnd++)
        {
            int a = fromEnd <= first.Rank ? first[-fromEnd] : 1, b = fromEnd <= second.Rank ? second[-fromEnd] : 1;
            Op.Check(a == b || a == 1 || b == 1, op, parameter, $"shapes {first} and {second} do not broadcast: sizes {a} and {b} of dimension -{fromEnd} differ and neither is 1; reshape one of them");
            sizes[^fromEnd] = a == 1 ? b : a;
        }
        return new Shape(sizes);
    }

    /// <summary>A gradient of the broadcast shape, summed to the shape of the input that was broadcast.</summary>
    public static void SumTo(GradientTarget target, Tensor gradient)
    {
        if (target.Tensor is not { } destination) return;
        int missing = gradient.Shape.Rank - destination.Shape.Rank;
        var sizes = new int[gradient.Shape.Rank];
        var strides = new long[sizes.Length];
        sizes.AsSpan(0, missing).Fill(1);
        destination.Shape.Dimensions.CopyTo(sizes.AsSpan(missing));
        destination.Strides.CopyTo(strides.AsSpan(missing));
        using Tensor lined = destination.UntrackedView(new Shape(sizes), strides, 0);
        Op.Require<IReductionKernels>("Sum", gradient).Reduce(Reduction.Sum, gradient, lined, 1, target.Accumulate);
    }
}
