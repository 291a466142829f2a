using Varlen.Autograd;

namespace Varlen.Ops;

internal interface INormKernels
{
    /// <summary>
    /// x = input, or sum = input + addend; output = (x - mean) * rstd * weight + bias. Without <paramref name="mean"/> the rows are not
    /// centred (RMS norm). The statistics [rows] are kept for the backward pass; an absent weight is one, an absent bias zero.
    /// </summary>
    void NormForward(Tensor input, Tensor? addend, Tensor? weight, Tensor? bias, double epsilon, Tensor? sum, Tensor output, Tensor? mean, Tensor rstd);

    /// <summary>
    /// gradient of x = what comes through the norm + <paramref name="sumGradient"/>, written to both input targets. One of them may be
    /// the memory of an output's gradient: each element is read before it is written.
    /// </summary>
    void NormBackward(
        Tensor outputGradient, Tensor? sumGradient, Tensor input, Tensor? weight, Tensor? mean, Tensor rstd,
        GradientTarget inputGradient, GradientTarget addendGradient, GradientTarget weightGradient, GradientTarget biasGradient);
}

/// <summary>What layer norm, RMS norm and their fusions with a residual addition have in common.</summary>
internal static class Norm
{
    /// <summary>Normalises rows.</summary>
    public static Tensor Run(string op, Tensor input, Tensor? weight, Tensor? bias, double epsilon, bool centered)
        => Run(op, input, nameof(input), null, weight, bias, epsilon, centered).Normed;

    /// <summary>Adds, then normalises the rows of the sum as it was rounded.</summary>
    public static (Tensor Sum, Tensor Normed) RunAdd(string op, Tensor residual, Tensor pending, Tensor? weight, Tensor? bias, double epsilon, bool centered)
    {
        ArgumentNullException.ThrowIfNull(residual);
        ArgumentNullException.ThrowIfNull(pending);
        Op.Check(pending.Shape == residual.Shape, op, nameof(pending), $"shape {pending.Shape} does not fit residual {residual.Shape}; both must be equal");
        Op.SameType(op, residual, pending, nameof(pending));
        return Run(op, residual, nameof(residual), pending, weight, bias, epsilon, centered);
    }

    private static (Tensor Sum, Tensor Normed) Run(
        string op, Tensor input, string parameter, Tensor? addend, Tensor? weight, Tensor? bias, double epsilon, bool centered)
    {
        int features = Op.RequireRows(op, input, parameter);
        Op.RequireVector(op, weight, features, input, nameof(weight));
        Op.RequireVector(op, bias, features, input, nameof(bias));
        Op.Check(epsilon >= 0 && double.IsFinite(epsilon), op, nameof(epsilon), $"{epsilon} is not a finite number of at least 0");
        var kernels = Op.Require<INormKernels>(op, input, addend, weight, bias);
        input = input.Contiguous();
        addend = addend?.Contiguous();
        Tensor output = Op.Like(input), rstd = Op.RowStatistic(input);
        Tensor? mean = centered ? Op.RowStatistic(input) : null, sum = addend is null ? null : Op.Like(input);
        kernels.NormForward(input, addend, weight, bias, epsilon, sum, output, mean, rstd);
        Tensor normed = sum ?? input;
        bool hasWeight = weight is not null, hasBias = bias is not null;
        if (Op.Records(input, addend, weight, bias))
        {
            // A linear layer behind the norm would keep the result; what it is made of is kept anyway.
            output.Recipe = Recipe.From(
                sources => Run(op, sources[0], parameter, null, hasWeight ? sources[1] : null, hasBias ? sources[^1] : null, epsilon, centered).Normed,
                [normed, .. new[] { weight, bias }.OfType<Tensor>()]);
        }
        Op.RecordAll(op, sum is null ? [output] : [sum, output], [input, addend, weight, bias], [normed, weight, mean, rstd], pass =>
            Backward(pass, kernels, sum is not null, hasWeight, centered));
        return (normed, output);
    }

    private static void Backward(BackwardPass pass, INormKernels kernels, bool added, bool hasWeight, bool centered)
    {
        Tensor? sumGradient = added ? pass.OutputGradient(0) : null;
        if (pass.OutputGradient(added ? 1 : 0) is not { } outputGradient)
        {
            pass.PassThrough(0, sumGradient!);
            pass.PassThrough(1, sumGradient!);
            return;
        }
        // The residual stream: its gradient is read and written in place, and the added branch shares it.
        int over = added && sumGradient is null ? 1 : 0, first = pass.Needs(0) ? 0 : 1;
        bool both = added && first == 0 && pass.Needs(1);
        GradientTarget inputGradient = first == 0 || added ? pass.InputGradientOver(first, over) : default;
        bool shared = both && !inputGradient.Accumulate;
        GradientTarget addendGradient = both && !shared ? pass.InputGradientOver(1, over) : default;
        kernels.NormBackward(
            outputGradient, sumGradient, pass.Saved(0), hasWeight ? pass.Saved(1) : null, centered ? pass.Saved(2) : null, pass.Saved(3),
            inputGradient, addendGradient, pass.InputGradient(2), pass.InputGradient(3));
        if (shared) pass.PassThrough(1, inputGradient.Tensor!);
    }
}
