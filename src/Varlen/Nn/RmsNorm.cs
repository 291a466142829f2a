using F = Varlen.Nn.Functional;

namespace Varlen.Nn;

/// <summary>Root-mean-square normalisation of the last dimension, with the key "weight".</summary>
public sealed class RmsNorm : Module<Tensor, Tensor>
{
    /// <summary>Makes the layer with a gain of one.</summary>
    /// <param name="features">Size of the last dimension.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <exception cref="ArgumentOutOfRangeException">The size is below 1.</exception>
    public RmsNorm(int features, double epsilon = 1e-6)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(features, 1);
        Epsilon = epsilon;
        Weight = Register("weight", new Parameter(Tensor.Ones([features])));
    }

    /// <summary>Gain, <c>[features]</c>.</summary>
    public Parameter Weight { get; }

    /// <summary>Added to the mean square.</summary>
    public double Epsilon { get; }

    /// <inheritdoc cref="LayerNorm.Forward(Tensor, Tensor?)"/>
    public (Tensor Sum, Tensor Normed) Forward(Tensor residual, Tensor? pending)
        => pending is null ? (residual, Forward(residual)) : F.AddRmsNorm(residual, pending, Weight, Epsilon);

    /// <inheritdoc/>
    protected override Tensor ForwardCore(Tensor input) => F.RmsNorm(input, Weight, Epsilon);
}
