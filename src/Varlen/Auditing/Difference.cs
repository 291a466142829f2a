using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace Varlen.Auditing;

/// <summary>How far two results are apart.</summary>
/// <param name="Error">The largest absolute difference; infinite where one side is finite and the other is not.</param>
/// <param name="Scale">The largest absolute value of the expected side.</param>
/// <param name="SameBits">Whether nothing differs at all, but for the sign of zero.</param>
internal readonly record struct Difference(double Error, double Scale, bool SameBits)
{
    public static Difference None { get; } = new(0, 0, true);

    public static Difference Between(Tensor expected, Tensor actual)
    {
        if (expected.Shape != actual.Shape) return new(double.PositiveInfinity, 1, false);
        return expected.DType == DType.Float64 ? Between<double>(expected.ToArray<double>(), actual.ToArray<double>()) : Between<float>(expected.ToArray<float>(), actual.ToArray<float>());
    }

    public static Difference Between<T>(ReadOnlySpan<T> expected, ReadOnlySpan<T> actual) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        // Gradients of all parameters pass here again and again, and are nearly always the same.
        if (!expected.IsEmpty && MemoryMarshal.AsBytes(expected).SequenceEqual(MemoryMarshal.AsBytes(actual)) && T.Abs(TensorPrimitives.MaxMagnitude(expected)) is var most && T.IsFinite(most))
            return new(0, double.CreateChecked(most), true);
        double error = 0, scale = 0;
        bool same = true;
        for (int i = 0; i < expected.Length; i++)
        {
            (double left, double right) = (double.CreateChecked(expected[i]), double.CreateChecked(actual[i]));
            if (double.IsFinite(left)) scale = Math.Max(scale, Math.Abs(left));
            if (left.Equals(right)) continue;
            double distance = Math.Abs(left - right);
            same &= distance == 0;
            error = Math.Max(error, double.IsNaN(distance) ? double.PositiveInfinity : distance);
        }
        return new(error, scale, same);
    }

    public static Difference Between(double expected, double actual) => Between<double>([expected], [actual]);

    /// <summary>Both together.</summary>
    public Difference And(Difference other) => new(Math.Max(Error, other.Error), Math.Max(Scale, other.Scale), SameBits && other.SameBits);
}
