using Varlen.Nn;
using Varlen.Ops;

namespace Varlen.Optim;

internal interface IAdamWKernels
{
    /// <summary>
    /// One update of all parameters, which reads its numbers from the step state's buffer. Nothing changes when that says that a gradient is
    /// not finite; else the count of updates, an Int64 on the same device, goes up by one first.
    /// </summary>
    void AdamW(IReadOnlyList<ParameterUpdate> updates, AdamWOptions options, Tensor stepState, Tensor updateCount);
}

/// <summary>Settings of <see cref="Optim.AdamW"/> beside the learning rate; the defaults are PyTorch's.</summary>
public sealed record AdamWOptions
{
    /// <summary>Decay of the mean of gradients.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of the mean of squared gradients.</summary>
    public double Beta2 { get; init; } = 0.999;

    /// <summary>Added to the root of the mean square.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Decoupled weight decay: times the learning rate, the part of each weight that a step takes away.</summary>
    public double WeightDecay { get; init; } = 0.01;

    /// <summary>Which parameters decay, by name and parameter; all when null. Often: those of two or more dimensions.</summary>
    public Func<string, Parameter, bool>? Decays { get; init; }
}

/// <summary>
/// Adam with decoupled weight decay (Loshchilov and Hutter, 2019), by PyTorch's formula: the weights shrink by
/// <c>1 - lr * decay</c>, then move by <c>lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)</c>.
/// Here t counts the updates that were made: one skipped for a gradient that is not finite counts as little as it does in the moments.
/// </summary>
public sealed class AdamW : Optimizer
{
    private readonly AdamWOptions _options;

    /// <summary>An optimiser whose state is named after the parameters.</summary>
    /// <param name="parameters">Named parameters: <see cref="Module.NamedParameters"/>.</param>
    /// <param name="learningRate">Learning rate of <see cref="Optimizer.Step(double?)"/>.</param>
    /// <param name="options">Other settings; the defaults when null.</param>
    /// <exception cref="ArgumentException">There are no parameters, or two of one name.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A number is out of its range.</exception>
    public AdamW(IEnumerable<KeyValuePair<string, Parameter>> parameters, double learningRate = 1e-3, AdamWOptions? options = null)
        : base(parameters, learningRate, (options ??= new AdamWOptions()).WeightDecay, options.Decays, "exp_avg", "exp_avg_sq")
    {
        OptimizerArguments.BelowOne(options.Beta1, nameof(options.Beta1));
        OptimizerArguments.BelowOne(options.Beta2, nameof(options.Beta2));
        OptimizerArguments.NotNegative(options.Epsilon, nameof(options.Epsilon));
        _options = options;
    }

    /// <summary>An optimiser whose state is named by the parameters' places in the list.</summary>
    /// <inheritdoc cref="AdamW(IEnumerable{KeyValuePair{string, Parameter}}, double, AdamWOptions?)"/>
    public AdamW(IEnumerable<Parameter> parameters, double learningRate = 1e-3, AdamWOptions? options = null)
        : this(OptimizerArguments.Numbered(parameters), learningRate, options)
    {
    }

    private protected override void Update(IReadOnlyList<ParameterUpdate> updates, StepState state, Tensor updateCount)
        => Op.Require<IAdamWKernels>(nameof(AdamW), state.Buffer).AdamW(updates, _options, state.Buffer, updateCount);
}
