using Varlen.Ops;

namespace Varlen.Nn;

public static partial class Functional
{
    /// <summary>
    /// Divides each row by its root mean square and multiplies by a gain: <c>y = x / sqrt(mean(x^2) + epsilon) * weight</c>.
    /// (Zhang and Sennrich, 2019.)
    /// </summary>
    /// <param name="input">Activations, <c>[..., features]</c>, any floating-point type. Statistics are single precision (double for Float64).</param>
    /// <param name="weight">Gain, <c>[features]</c>, of the input's type; one when null.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <returns>A tensor like <paramref name="input"/>.</returns>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
    public static Tensor RmsNorm(Tensor input, Tensor? weight, double epsilon = 1e-6)
        => Norm.Run(nameof(RmsNorm), input, weight, null, epsilon, centered: false);

    /// <summary>
    /// Adds a branch to the residual stream and takes the RMS norm of the sum, in one pass over memory. In the backward pass the residual's
    /// gradient is updated where it is, and the branch shares it.
    /// </summary>
    /// <param name="residual">Residual stream, <c>[..., features]</c>, any floating-point type.</param>
    /// <param name="pending">The branch to add: same shape and type.</param>
    /// <param name="weight">Gain, <c>[features]</c>, of the same type; one when null.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <returns>The sum, rounded to its type, and the norm of that rounded sum.</returns>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
    public static (Tensor Sum, Tensor Normed) AddRmsNorm(Tensor residual, Tensor pending, Tensor? weight, double epsilon = 1e-6)
        => Norm.RunAdd(nameof(AddRmsNorm), residual, pending, weight, null, epsilon, centered: false);
}
