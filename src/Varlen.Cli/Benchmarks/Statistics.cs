namespace Varlen.Cli.Benchmarks;

/// <summary>Of repeated measurements.</summary>
internal static class Statistics
{
    /// <summary>The middle one, or the mean of both.</summary>
    public static double Median(IReadOnlyList<double> values) => Quantile(values, 0.5);

    /// <summary>The value below which a share of the others lies, between two of them in proportion; NaN of none.</summary>
    public static double Quantile(IReadOnlyList<double> values, double share)
    {
        if (values.Count == 0) return double.NaN;
        double[] sorted = [.. values.Order()];
        double at = share * (sorted.Length - 1);
        int below = (int)at;
        return below + 1 < sorted.Length ? sorted[below] + (at - below) * (sorted[below + 1] - sorted[below]) : sorted[below];
    }

    /// <summary>The median of the ratios of measurements that were taken in the same rounds.</summary>
    public static double MedianRatio(IReadOnlyList<double> own, IReadOnlyList<double> theirs) => Median([.. own.Zip(theirs, (a, b) => a / b)]);

    /// <summary>The n-th root of the product.</summary>
    public static double GeometricMean(IEnumerable<double> values) => Math.Exp(values.Average(Math.Log));
}
