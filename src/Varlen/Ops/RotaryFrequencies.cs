namespace Varlen;

/// <summary>How fast each pair of features turns in a rotary embedding: radians a position. Immutable, safe to share between threads.</summary>
public sealed class RotaryFrequencies
{
    /// <summary>Most frequencies of one's own.</summary>
    public const int Most = 256;

    private readonly double[] _values;

    /// <summary>Frequencies of one's own, as scaled for longer contexts.</summary>
    /// <param name="values">For each pair, finite.</param>
    /// <exception cref="ArgumentException">There are more than <see cref="Most"/>, or one is not finite.</exception>
    public RotaryFrequencies(ReadOnlySpan<double> values)
    {
        if (values.Length > Most) throw new ArgumentException($"there are {values.Length} frequencies, and {Most} are the most", nameof(values));
        for (int i = 0; i < values.Length; i++)
            if (!double.IsFinite(values[i])) throw new ArgumentException($"frequency {i} is {values[i]}; they must be finite", nameof(values));
        _values = values.ToArray();
    }

    private RotaryFrequencies(double theta, double[] values) => (Theta, _values) = (theta, values);

    /// <summary>For each pair of features.</summary>
    public ReadOnlySpan<double> Values => _values;

    /// <summary>The base that the frequencies are powers of; null for one's own.</summary>
    internal double? Theta { get; }

    /// <summary>The published ones: pair i of n turns by <c>theta^(-i / n)</c>.</summary>
    /// <param name="theta">The base.</param>
    /// <param name="pairs">How many pairs.</param>
    /// <exception cref="ArgumentOutOfRangeException">The base is not positive and finite, or the number is negative.</exception>
    public static RotaryFrequencies FromBase(double theta, int pairs)
    {
        if (!(theta > 0 && double.IsFinite(theta))) throw new ArgumentOutOfRangeException(nameof(theta), theta, "the base must be positive and finite");
        ArgumentOutOfRangeException.ThrowIfNegative(pairs);
        var values = new double[pairs];
        for (int i = 0; i < pairs; i++) values[i] = Math.Pow(theta, -2.0 * i / (2 * pairs));
        return new(theta, values);
    }
}
