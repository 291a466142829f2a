using Varlen.Nn;
using Varlen.Ops;

namespace Varlen.Optim;

internal interface ISgdKernels
{
    /// <inheritdoc cref="IAdamWKernels.AdamW"/>
    void Sgd(IReadOnlyList<ParameterUpdate> updates, SgdOptions options, Tensor stepState, Tensor updateCount);
}

/// <summary>Settings of <see cref="Optim.Sgd"/> beside the learning rate; the defaults are PyTorch's.</summary>
public sealed record SgdOptions
{
    /// <summary>Decay of the running sum of gradients; 0 keeps none.</summary>
    public double Momentum { get; init; }

    /// <summary>Steps along the gradient plus the momentum to come (Sutskever et al., 2013).</summary>
    public bool Nesterov { get; init; }

    /// <summary>Times the weight, added to its gradient.</summary>
    public double WeightDecay { get; init; }

    /// <summary>Which parameters decay, by name and parameter; all when null.</summary>
    public Func<string, Parameter, bool>? Decays { get; init; }
}

/// <summary>
/// Stochastic gradient descent by PyTorch's formula, without dampening: <c>g += decay * p; b = momentum * b + g; p -= lr * b</c>, or
/// <c>p -= lr * (g + momentum * b)</c> with Nesterov's momentum.
/// </summary>
public sealed class Sgd : Optimizer
{
    private readonly SgdOptions _options;

    /// <summary>An optimiser whose state is named after the parameters.</summary>
    /// <param name="parameters">Named parameters: <see cref="Module.NamedParameters"/>.</param>
    /// <param name="learningRate">Learning rate of <see cref="Optimizer.Step(double?)"/>.</param>
    /// <param name="options">Other settings; the defaults when null.</param>
    /// <exception cref="ArgumentException">There are no parameters, two of one name, or Nesterov's momentum without momentum.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A number is out of its range.</exception>
    public Sgd(IEnumerable<KeyValuePair<string, Parameter>> parameters, double learningRate = 1e-3, SgdOptions? options = null)
        : base(parameters, learningRate, (options ??= new SgdOptions()).WeightDecay, options.Decays, options.Momentum == 0 ? [] : ["momentum_buffer"])
    {
        OptimizerArguments.NotNegative(options.Momentum, nameof(options.Momentum));
        if (options is { Nesterov: true, Momentum: 0 }) throw new ArgumentException("Nesterov's momentum needs a momentum above 0; set Momentum", nameof(options));
        _options = options;
    }

    /// <summary>An optimiser whose state is named by the parameters' places in the list.</summary>
    /// <inheritdoc cref="Sgd(IEnumerable{KeyValuePair{string, Parameter}}, double, SgdOptions?)"/>
    public Sgd(IEnumerable<Parameter> parameters, double learningRate = 1e-3, SgdOptions? options = null)
        : this(OptimizerArguments.Numbered(parameters), learningRate, options)
    {
    }

    private protected override void Update(IReadOnlyList<ParameterUpdate> updates, StepState state, Tensor updateCount)
        => Op.Require<ISgdKernels>(nameof(Sgd), state.Buffer).Sgd(updates, _options, state.Buffer, updateCount);
}
