using System.Numerics;

namespace Varlen.Data;

/// <summary>How long documents or sequences are, in tokens.</summary>
/// <param name="Count">How many there are.</param>
/// <param name="Total">Tokens of all together.</param>
/// <param name="Shortest">The shortest length; 0 when there is none.</param>
/// <param name="Median">Half are at most this long.</param>
/// <param name="Percentile90">Nine of ten are at most this long.</param>
/// <param name="Percentile99">Of a hundred 99 are at most this long.</param>
/// <param name="Longest">The longest length; 0 when there is none.</param>
/// <param name="Buckets">How many have a length of at most 1, 2, 4, 8 and so on, and more than the bucket before.</param>
public sealed record LengthHistogram(long Count, long Total, long Shortest, long Median, long Percentile90, long Percentile99, long Longest, IReadOnlyList<LengthBucket> Buckets)
{
    /// <summary>Mean length; 0 when there is none.</summary>
    public double Mean => Count == 0 ? 0 : (double)Total / Count;

    /// <summary>Counts lengths.</summary>
    public static LengthHistogram Of(IEnumerable<long> lengths)
    {
        long[] sorted = [.. lengths];
        Array.Sort(sorted);
        if (sorted.Length == 0) return new(0, 0, 0, 0, 0, 0, 0, []);
        var counts = new long[65];
        long total = 0;
        foreach (long length in sorted)
        {
            counts[length <= 1 ? 0 : 64 - BitOperations.LeadingZeroCount((ulong)length - 1)]++;
            total += length;
        }
        int used = Array.FindLastIndex(counts, count => count > 0) + 1;
        return new(sorted.Length, total, sorted[0], At(0.5), At(0.9), At(0.99), sorted[^1], [.. counts.Take(used).Select((count, power) => new LengthBucket(1L << power, count))]);

        long At(double share) => sorted[(int)Math.Ceiling(share * sorted.Length) - 1];
    }
}

/// <summary>Lengths between two powers of two.</summary>
/// <param name="UpTo">The longest length that counts here.</param>
/// <param name="Count">How many there are.</param>
public readonly record struct LengthBucket(long UpTo, long Count);
