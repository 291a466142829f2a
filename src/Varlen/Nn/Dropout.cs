using Varlen.Optim;
using F = Varlen.Nn.Functional;

namespace Varlen.Nn;

/// <summary>Dropout in training mode, nothing in evaluation mode. See <see cref="Functional.Dropout"/> for what is dropped.</summary>
public sealed class Dropout : Module<Tensor, DropoutKeys, Tensor>
{
    private readonly StepState _state;

    /// <summary>Makes the layer.</summary>
    /// <param name="probability">Chance of an element to be dropped, from 0 up to but not including 1.</param>
    /// <param name="state">Seed and step number; not owned.</param>
    /// <param name="layer">Tells the dropouts of a model apart, 0 to 65535.</param>
    /// <exception cref="ArgumentOutOfRangeException">The probability or the layer is out of range.</exception>
    public Dropout(double probability, StepState state, int layer = 0)
    {
        ArgumentNullException.ThrowIfNull(state);
        if (!(probability >= 0 && probability < 1)) throw new ArgumentOutOfRangeException(nameof(probability), probability, "the probability must be at least 0 and below 1");
        if (layer is < 0 or > 0xFFFF) throw new ArgumentOutOfRangeException(nameof(layer), layer, "the layer must be from 0 to 65535");
        (Probability, _state, Layer) = (probability, state, layer);
    }

    /// <summary>Chance of an element to be dropped.</summary>
    public double Probability { get; }

    /// <summary>Which dropout of the model this is.</summary>
    public int Layer { get; }

    /// <summary>Drops elements of one document, its rows in order.</summary>
    public Tensor Forward(Tensor input) => Forward(input, default);

    /// <inheritdoc/>
    protected override Tensor ForwardCore(Tensor first, DropoutKeys second) => F.Dropout(first, Probability, _state, Layer, second, IsTraining);
}
