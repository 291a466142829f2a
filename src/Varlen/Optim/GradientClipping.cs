using Varlen.Nn;
using Varlen.Ops;

namespace Varlen.Optim;

internal interface IGradientNormKernels
{
    /// <summary>Writes GradientNorm, ClipFactor and Finite of the step state from dense gradients; Finite says of LossSum too that it is.</summary>
    void GradientNorm(IReadOnlyList<Tensor> gradients, double? maxNorm, Tensor stepState);
}

/// <summary>The gradients' global norm, and the factor that keeps it within bounds.</summary>
public static class GradientClipping
{
    /// <summary>
    /// Takes the L2 norm of all gradients together, summed in double precision in a fixed order, and leaves it in the step state with the
    /// clip factor <c>min(1, maxNorm / (norm + 1e-6))</c> and whether it is finite. The gradients stay as they are: the optimiser multiplies as
    /// it reads, and leaves everything alone when the norm is not finite.
    /// </summary>
    /// <param name="parameters">The parameters; those without a gradient count as zero.</param>
    /// <param name="maxNorm">Largest norm; null takes the norm without clipping.</param>
    /// <param name="state">The step state, on the parameters' device, in which <see cref="StepState.Begin"/> has set the step.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="maxNorm"/> is not positive.</exception>
    /// <exception cref="ArgumentException">A parameter is on another device.</exception>
    public static void Apply(IEnumerable<Parameter> parameters, double? maxNorm, StepState state)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        ArgumentNullException.ThrowIfNull(state);
        if (maxNorm is { } limit && !(limit > 0)) throw new ArgumentOutOfRangeException(nameof(maxNorm), maxNorm, "the largest norm must be above 0; pass null not to clip");
        List<Tensor> gradients = [];
        foreach (Parameter parameter in parameters.Distinct())
        {
            if (parameter.Grad is not { } gradient) continue;
            if (gradient.Device != state.Device)
                throw new ArgumentException($"a parameter {parameter.Shape} is on {gradient.Device}, the step state on {state.Device}; make the state for the parameters' device", nameof(state));
            gradients.Add(gradient);
        }
        Op.Require<IGradientNormKernels>(nameof(GradientClipping), state.Buffer).GradientNorm(gradients, maxNorm, state.Buffer);
    }

    /// <summary>
    /// Names the parameters whose gradient holds a NaN or an infinity, to explain a skipped update while the gradients are still there. Waits
    /// for the device.
    /// </summary>
    /// <param name="parameters">Named parameters: <see cref="Module.NamedParameters"/>; a tied one is reported under its first name.</param>
    public static IReadOnlyList<string> FindNonFinite(IEnumerable<KeyValuePair<string, Parameter>> parameters)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        List<string> names = [];
        foreach ((string name, Parameter parameter) in parameters.DistinctBy(entry => entry.Value))
        {
            if (parameter.Grad is not { } gradient) continue;
            using var state = new StepState(gradient.Device);
            Apply([parameter], null, state);
            if (!state.ReadFinite()) names.Add(name);
        }
        return names;
    }
}
