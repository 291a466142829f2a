using Varlen.Data;
using Varlen.Models;
using Varlen.Nn;
using Varlen.Optim;

namespace Varlen.Cli.Parity;

/// <summary>How far a run was from the reference's in the same precision.</summary>
/// <param name="Precision">fp32 or bf16.</param>
/// <param name="Losses">Loss of every step.</param>
/// <param name="LossDifference">Largest difference to the reference's loss at a step.</param>
/// <param name="LossStep">That step, from 1.</param>
/// <param name="Gradients">Errors of the first step's gradients, the worst of their bounds first.</param>
internal sealed record ParityResult(string Precision, IReadOnlyList<double> Losses, double LossDifference, int LossStep, IReadOnlyList<GradientError> Gradients)
{
    private const double MostLossDifference = 0.02, LeastFall = 1;

    /// <summary>How much the loss fell from the first step to the last.</summary>
    public double Fall => Losses[0] - Losses[^1];

    /// <summary>What is wrong, in words; empty when nothing is.</summary>
    public IEnumerable<string> Faults()
    {
        if (!(LossDifference <= MostLossDifference)) yield return FormattableString.Invariant($"{Precision}: the loss of step {LossStep} differs by {LossDifference:F4}, more than {MostLossDifference}");
        if (!(Fall >= LeastFall)) yield return FormattableString.Invariant($"{Precision}: the loss fell by {Fall:F3}, less than {LeastFall} nat");
        foreach (GradientError error in Gradients.Where(error => !(error.Error <= error.Bound)))
            yield return FormattableString.Invariant($"{Precision}: the first gradient of {error.Parameter} has a relative error of {error.Error:G3}, more than {error.Bound:G3}");
    }
}

/// <summary>Relative L2 error of a parameter's gradient against the reference's in single precision.</summary>
/// <param name="Parameter">Whose.</param>
/// <param name="Error">Ours.</param>
/// <param name="PeerError">That of the reference's own mixed precision.</param>
/// <param name="Bound">What ours may be.</param>
internal sealed record GradientError(string Parameter, double Error, double PeerError, double Bound);

/// <summary>Takes the reference's steps and compares.</summary>
internal static class ParityRun
{
    // What two orders of summation in single precision may differ by.
    private const double Slack = 1e-3, PeerFactor = 1.5;

    /// <summary>Runs one precision.</summary>
    /// <param name="folder">The reference.</param>
    /// <param name="device">Where to compute.</param>
    /// <param name="precision">In what.</param>
    /// <param name="planted">A parameter whose gradient is zeroed at every step, to see that it is noticed; null for none.</param>
    public static ParityResult Run(ParityFolder folder, Device device, DType precision, string? planted)
    {
        string name = precision == DType.Float32 ? "fp32" : "bf16";
        using CausalLanguageModel model = folder.OpenModel(device, precision);
        Dictionary<string, Parameter> parameters = model.NamedParameters().ToDictionary();
        Parameter? fault = planted is null ? null : parameters.TryGetValue(planted, out Parameter? found) ? found
            : throw Terminal.CommandException.Usage($"--plant does not know '{planted}'", fix: Terminal.Spelling.Nearest(planted, parameters.Keys) is { } near ? $"did you mean {near}?" : "give a parameter's name, such as blocks.2.fc1.bias");
        using Optimizer optimizer = folder.MakeOptimizer(model);
        using var state = new StepState(device);
        using Tensor losses = Tensor.Zeros([folder.Steps], DType.Float64, device).Keep();
        GradientError[] gradients = [];
        for (int step = 0; step < folder.Steps; step++)
        {
            using PackedBatch batch = folder.Batch(step, device);
            using TensorScope scope = TensorScope.Begin();
            state.Begin(step + 1, folder.LearningRate, 1.0 / batch.TargetCount);
            optimizer.ZeroGrad();
            Tensor loss = model.LossSum(batch);
            loss.Backward(state.LossGradient);
            fault?.Grad!.Fill(0);
            if (step == 0) gradients = [.. parameters.Select(entry => Compare(folder, entry.Key, entry.Value, name)).OrderByDescending(error => error.Error / error.Bound)];
            optimizer.Step(state);
            losses.Narrow(0, step, 1).Reshape([]).CopyFrom(loss.Detach() * (1.0 / batch.TargetCount));
        }
        double[] own = losses.ToArray<double>(), expected = folder.Losses(name);
        // A loss that is no number differs most of all.
        (double difference, int worst) = own.Select((loss, i) => (double.IsNaN(loss) ? double.PositiveInfinity : Math.Abs(loss - expected[i]), i)).Max();
        return new ParityResult(name, own, difference, worst + 1, gradients);
    }

    private static GradientError Compare(ParityFolder folder, string name, Parameter parameter, string precision)
    {
        float[] reference = folder.Gradient("fp32", name), mixed = folder.Gradient("bf16", name), own = parameter.Grad?.ToArray<float>() ?? new float[reference.Length];
        double peer = Distance(mixed, reference);
        return new GradientError(name, Distance(own, reference), peer, (precision == "fp32" ? 0 : PeerFactor * peer) + Slack);
    }

    private static double Distance(float[] values, float[] reference)
    {
        if (values.Length != reference.Length) return double.PositiveInfinity;
        double difference = 0, norm = 0;
        for (int i = 0; i < values.Length; i++)
        {
            double d = (double)values[i] - reference[i];
            difference += d * d;
            norm += (double)reference[i] * reference[i];
        }
        return norm == 0 && difference == 0 ? 0 : Math.Sqrt(difference / norm);
    }
}
