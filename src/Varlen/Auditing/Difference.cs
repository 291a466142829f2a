namespace Varlen.Auditing;

/// <summary>How far two results are apart.</summary>
/// <param name="Error">The largest absolute difference; infinite where one side is finite and the other is not.</param>
/// <param name="Scale">The largest absolute value of the expected side.</param>
/// <param name="SameBits">Whether nothing differs at all, but for the sign of zero.</param>
internal readonly record struct Difference(double Error, double Scale, bool SameBits)
{
    public static Difference None { get; } = new(0, 0, true);

    public static Difference Between(Tensor expected, Tensor actual)
        => expected.Shape == actual.Shape ? Between(expected.ToArray<double>(), actual.ToArray<double>()) : new(double.PositiveInfinity, 1, false);

    public static Difference Between(ReadOnlySpan<double> expected, ReadOnlySpan<double> actual)
    {
        double error = 0, scale = 0;
        bool same = true;
        for (int i = 0; i < expected.Length; i++)
        {
            if (double.IsFinite(expected[i])) scale = Math.Max(scale, Math.Abs(expected[i]));
            if (expected[i].Equals(actual[i])) continue;
            double distance = Math.Abs(expected[i] - actual[i]);
            same &= distance == 0;
            error = Math.Max(error, double.IsNaN(distance) ? double.PositiveInfinity : distance);
        }
        return new(error, scale, same);
    }

    public static Difference Between(double expected, double actual) => Between([expected], [actual]);

    /// <summary>Both together.</summary>
    public Difference And(Difference other) => new(Math.Max(Error, other.Error), Math.Max(Scale, other.Scale), SameBits && other.SameBits);
}
