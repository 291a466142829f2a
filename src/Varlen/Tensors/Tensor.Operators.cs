using System.Diagnostics.CodeAnalysis;
using Varlen.Ops;
using F = Varlen.Nn.Functional;

namespace Varlen;

[SuppressMessage("Usage", "CA2225:Operator overloads have named alternates", Justification = "The named forms are functions, F.Add and so on, as for every op.")]
public sealed partial class Tensor
{
    /// <summary>Elementwise sum, with broadcasting.</summary>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
    public static Tensor operator +(Tensor left, Tensor right) => F.Add(left, right);

    /// <summary>Elementwise difference, with broadcasting.</summary>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
    public static Tensor operator -(Tensor left, Tensor right) => F.Subtract(left, right);

    /// <summary>Elementwise product, with broadcasting.</summary>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
    public static Tensor operator *(Tensor left, Tensor right) => F.Multiply(left, right);

    /// <summary>Elementwise quotient, with broadcasting.</summary>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
    public static Tensor operator /(Tensor left, Tensor right) => F.Divide(left, right);

    /// <summary>Adds a number to every element. It is rounded to the type of arithmetic, not to a 16-bit element type.</summary>
    public static Tensor operator +(Tensor left, double right) => Unary.Apply(UnaryFunction.AddConstant, left, nameof(F.Add), right);

    /// <inheritdoc cref="op_Addition(Tensor, double)"/>
    public static Tensor operator +(double left, Tensor right) => right + left;

    /// <summary>Subtracts a number from every element.</summary>
    public static Tensor operator -(Tensor left, double right) => Unary.Apply(UnaryFunction.AddConstant, left, nameof(F.Subtract), -right);

    /// <summary>Subtracts every element from a number.</summary>
    public static Tensor operator -(double left, Tensor right) => Unary.Apply(UnaryFunction.SubtractFrom, right, nameof(F.Subtract), left);

    /// <summary>Multiplies every element by a number.</summary>
    public static Tensor operator *(Tensor left, double right) => Unary.Apply(UnaryFunction.Scale, left, nameof(F.Multiply), right);

    /// <inheritdoc cref="op_Multiply(Tensor, double)"/>
    public static Tensor operator *(double left, Tensor right) => right * left;

    /// <summary>Divides every element by a number.</summary>
    public static Tensor operator /(Tensor left, double right) => Unary.Apply(UnaryFunction.DivideBy, left, nameof(F.Divide), right);

    /// <summary>Divides a number by every element.</summary>
    public static Tensor operator /(double left, Tensor right) => Unary.Apply(UnaryFunction.DivideInto, right, nameof(F.Divide), left);

    /// <summary>Every element with the other sign.</summary>
    public static Tensor operator -(Tensor tensor) => Unary.Apply(UnaryFunction.Scale, tensor, "Negate", -1);

    /// <summary>Adds <c>scale * other</c> to this tensor's own memory, outside of the graph.</summary>
    /// <param name="other">The same type; broadcasts to this tensor's shape.</param>
    /// <param name="scale">What to multiply it by.</param>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
    /// <exception cref="InvalidOperationException">This tensor requires a gradient and recording is on.</exception>
    public void AddInPlace(Tensor other, double scale = 1)
    {
        (Shape shape, IBinaryKernels kernels) = Binary.Prepare(nameof(AddInPlace), this, other, "this", nameof(other));
        Op.Check(shape == Shape, nameof(AddInPlace), nameof(other), $"shape {other.Shape} does not broadcast to {Shape}, the tensor that is written");
        BeginInPlace();
        kernels.AddScaled(this, other, scale);
    }
}
