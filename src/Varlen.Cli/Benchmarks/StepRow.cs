namespace Varlen.Cli.Benchmarks;

/// <summary>What the host does in a step on a device that runs beside it.</summary>
/// <param name="HostMilliseconds">Median time until the last launch was started.</param>
/// <param name="Launches">Kernels started in the last step.</param>
internal sealed record StepDeviceRow(double HostMilliseconds, int Launches);

/// <summary>What was measured of one strategy in one mode.</summary>
/// <param name="Mode">What its steps do.</param>
/// <param name="Strategy">How its batch was made.</param>
/// <param name="RealTokens">Tokens of a batch on average.</param>
/// <param name="Rows">Rows that the model computed on average, padding included.</param>
/// <param name="Milliseconds">Time of each round's step, its batch being on the device.</param>
/// <param name="PeakBytes">Most memory in use at once: weights, optimiser, batches and activations; 0 when unknown.</param>
/// <param name="Losses">Mean loss of every step taken, warm-up included, each before its update.</param>
/// <param name="Operations">Counted floating-point operations of a step.</param>
internal sealed record StepRow(
    StepMode Mode, StepStrategy Strategy, int RealTokens, int Rows, IReadOnlyList<double> Milliseconds, long PeakBytes, IReadOnlyList<double> Losses, double Operations)
{
    /// <summary>Whose steps these are.</summary>
    public string Framework { get; init; } = "varlen";

    /// <summary>How the framework ran them, where it has several ways.</summary>
    public string? Variant { get; init; }

    /// <summary>Time of each round's step that also makes the batch and sends it to the device; empty where that was not measured.</summary>
    public IReadOnlyList<double> UploadMilliseconds { get; init; } = [];

    /// <summary>What is known on a device that runs beside the host; null on the CPU.</summary>
    public StepDeviceRow? Device { get; init; }

    /// <summary>Median time of a step.</summary>
    public double MedianMilliseconds => Statistics.Median(Milliseconds);

    /// <summary>Real tokens per second, by the mean time.</summary>
    public double TokensPerSecond => RealTokens / Milliseconds.Average() * 1e3;

    /// <summary>Counted operations per second, in units of 10^9, at the median.</summary>
    public double Gflops => Operations / MedianMilliseconds * 1e-6;

    /// <summary>How many times as long as another row's steps these take: the median over the rounds, in each of which both ran.</summary>
    public double TimesAs(StepRow other) => Statistics.MedianRatio(Milliseconds, other.Milliseconds);

    /// <summary>The same, from counted operations.</summary>
    public double CountedTimesAs(StepRow other) => Operations / other.Operations;

    /// <summary>
    /// Where the losses of the first two steps part: at first nothing but the loss is compared, then the gradients' effect too. Later ones
    /// may drift apart by rounding alone.
    /// </summary>
    /// <returns>The number of the step, from 1, or null when they agree.</returns>
    public int? FirstDisagreement(StepRow other, double tolerance, int steps = 2)
    {
        for (int i = 0; i < Math.Min(steps, Losses.Count); i++)
            if (!(Math.Abs(Losses[i] - other.Losses[i]) <= tolerance * Math.Max(1, Math.Abs(other.Losses[i])))) return i + 1;
        return null;
    }
}
