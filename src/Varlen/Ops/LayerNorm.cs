using Varlen.Ops;

namespace Varlen.Nn;

public static partial class Functional
{
    /// <summary>
    /// Gives each row mean zero and variance one, then scales and shifts it:
    /// <c>y = (x - mean) / sqrt(variance + epsilon) * weight + bias</c>, with the variance over all features. (Ba, Kiros and Hinton, 2016.)
    /// </summary>
    /// <param name="input">Activations, <c>[..., features]</c>, any floating-point type. Statistics are single precision (double for Float64).</param>
    /// <param name="weight">Gain, <c>[features]</c>, of the input's type; one when null.</param>
    /// <param name="bias">Shift, <c>[features]</c>, of the input's type; zero when null.</param>
    /// <param name="epsilon">Added to the variance.</param>
    /// <returns>A tensor like <paramref name="input"/>.</returns>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
    public static Tensor LayerNorm(Tensor input, Tensor? weight = null, Tensor? bias = null, double epsilon = 1e-5)
        => Norm.Run(nameof(LayerNorm), input, weight, bias, epsilon, centered: true);

    /// <summary>
    /// Adds a branch to the residual stream and takes the layer norm of the sum, in one pass over memory. In the backward pass the residual's
    /// gradient is updated where it is, and the branch shares it.
    /// </summary>
    /// <param name="residual">Residual stream, <c>[..., features]</c>, any floating-point type.</param>
    /// <param name="pending">The branch to add: same shape and type.</param>
    /// <param name="weight">Gain, <c>[features]</c>, of the same type; one when null.</param>
    /// <param name="bias">Shift, <c>[features]</c>, of the same type; zero when null.</param>
    /// <param name="epsilon">Added to the variance.</param>
    /// <returns>The sum, rounded to its type, and the norm of that rounded sum.</returns>
    /// <exception cref="ArgumentException">Shapes, types or devices do not fit.</exception>
    public static (Tensor Sum, Tensor Normed) AddLayerNorm(Tensor residual, Tensor pending, Tensor? weight = null, Tensor? bias = null, double epsilon = 1e-5)
        => Norm.RunAdd(nameof(AddLayerNorm), residual, pending, weight, bias, epsilon, centered: true);
}
