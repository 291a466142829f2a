using F = Varlen.Nn.Functional;

namespace Varlen.Nn;

/// <summary>Layer normalisation of the last dimension, with the keys "weight" and "bias".</summary>
public sealed class LayerNorm : Module<Tensor, Tensor>
{
    /// <summary>Makes the layer with a gain of one and a shift of zero.</summary>
    /// <param name="features">Size of the last dimension.</param>
    /// <param name="epsilon">Added to the variance.</param>
    /// <param name="bias">Whether there is a shift.</param>
    /// <exception cref="ArgumentOutOfRangeException">The size is below 1.</exception>
    public LayerNorm(int features, double epsilon = 1e-5, bool bias = true)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(features, 1);
        Epsilon = epsilon;
        Weight = Register("weight", new Parameter(Tensor.Ones([features])));
        if (bias) Bias = Register("bias", new Parameter(Tensor.Zeros([features])));
    }

    /// <summary>Gain, <c>[features]</c>.</summary>
    public Parameter Weight { get; }

    /// <summary>Shift, <c>[features]</c>, or null.</summary>
    public Parameter? Bias { get; }

    /// <summary>Added to the variance.</summary>
    public double Epsilon { get; }

    /// <summary>Adds a pending branch to the residual stream and normalises the sum, as one op; without a branch it only normalises.</summary>
    /// <returns>The residual stream and its norm.</returns>
    public (Tensor Sum, Tensor Normed) Forward(Tensor residual, Tensor? pending)
        => pending is null ? (residual, Forward(residual)) : F.AddLayerNorm(residual, pending, Weight, Bias?.Value, Epsilon);

    /// <inheritdoc/>
    protected override Tensor ForwardCore(Tensor input) => F.LayerNorm(input, Weight, Bias?.Value, Epsilon);
}
