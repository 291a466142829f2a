using Varlen.Nn;
using F = Varlen.Nn.Functional;

namespace Varlen.Models;

/// <summary>The nonlinearity of a block's network.</summary>
public enum Activation
{
    /// <summary>Gaussian error linear unit, exact: PyTorch's GELU.</summary>
    Gelu,
    /// <summary>Its tanh approximation: GPT-2's <c>gelu_new</c>.</summary>
    GeluTanh,
    /// <summary>Rectified linear unit.</summary>
    Relu,
}

internal static class Activations
{
    /// <summary>activation(layer(input)); a GELU adds the bias itself, in one pass forward and for free backward.</summary>
    public static Tensor Apply(this Activation activation, Linear layer, Tensor input) => activation switch
    {
        Activation.Gelu => F.Gelu(F.Linear(input, layer.Weight, null, layer.Layout), layer.Bias?.Value),
        Activation.GeluTanh => F.Gelu(F.Linear(input, layer.Weight, null, layer.Layout), layer.Bias?.Value, GeluForm.Tanh),
        Activation.Relu => F.Relu(layer.Forward(input)),
        _ => throw new ArgumentOutOfRangeException(nameof(activation), activation, "there is no such activation"),
    };
}
