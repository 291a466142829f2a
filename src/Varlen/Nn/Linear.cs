using Varlen.Backends.Cpu;
using F = Varlen.Nn.Functional;

namespace Varlen.Nn;

/// <summary>A linear map of the last dimension, <c>y = x W^T + b</c>, with the keys "weight" and "bias".</summary>
public sealed class Linear : Module<Tensor, Tensor>
{
    /// <summary>
    /// Makes the layer with PyTorch's initialisation, weight and bias uniform within <c>1 / sqrt(inFeatures)</c> of zero, or with GPT-2's:
    /// normal weights and a bias of zero.
    /// </summary>
    /// <param name="inFeatures">Size of the input's last dimension.</param>
    /// <param name="outFeatures">Size of the output's.</param>
    /// <param name="bias">Whether a bias is added.</param>
    /// <param name="seed">Seed of the initial values.</param>
    /// <param name="layout">How the weight is stored.</param>
    /// <param name="std">Standard deviation of normal initial weights; uniform ones when null.</param>
    /// <exception cref="ArgumentOutOfRangeException">A size is below 1, or the deviation is negative or not finite.</exception>
    public Linear(int inFeatures, int outFeatures, bool bias = true, ulong seed = 0, WeightLayout layout = WeightLayout.OutIn, double? std = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(inFeatures, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(outFeatures, 1);
        if (std is { } given && !(given >= 0 && double.IsFinite(given))) throw new ArgumentOutOfRangeException(nameof(std), std, "the standard deviation must be finite and not negative");
        Layout = layout;
        // One stream for both, so that they are independent, and the weight is the same with and without a bias.
        var values = new float[checked((long)inFeatures * outFeatures + (bias ? outFeatures : 0))];
        int weights = values.Length - (bias ? outFeatures : 0);
        float bound = 1 / MathF.Sqrt(inFeatures);
        if (std is { } deviation) RandomStream.Normal(seed, values.AsSpan(0, weights), deviation);
        else RandomStream.Uniform(seed, -bound, bound, values);
        Shape shape = layout == WeightLayout.OutIn ? [outFeatures, inFeatures] : [inFeatures, outFeatures];
        Weight = Register("weight", new Parameter(Tensor.From(values.AsSpan(0, weights), shape)));
        if (bias) Bias = Register("bias", new Parameter(Tensor.From(values.AsSpan(weights), [outFeatures])));
    }

    /// <summary>Weight, stored as <see cref="Layout"/> says.</summary>
    public Parameter Weight { get; }

    /// <summary>Bias, <c>[out]</c>, or null.</summary>
    public Parameter? Bias { get; }

    /// <summary>How the weight is stored.</summary>
    public WeightLayout Layout { get; }

    /// <inheritdoc/>
    protected override Tensor ForwardCore(Tensor input) => F.Linear(input, Weight, Bias?.Value, Layout);
}
