namespace Varlen.Models;

/// <summary>How the frequencies of a rotary embedding are stretched for contexts longer than the ones that a model was first trained on.</summary>
public enum RotaryScaling
{
    /// <summary>Not at all.</summary>
    Default,
    /// <summary>All divided by a factor. (Chen et al., 2023.)</summary>
    Linear,
    /// <summary>By the length, beyond the longest one that the configuration names; up to it, which is as far as models go here, not at all.</summary>
    Dynamic,
    /// <summary>Slow ones divided, fast ones kept, those between mixed by how often they turn; scores are raised. (Peng et al., 2023: YaRN.)</summary>
    Yarn,
    /// <summary>Slow ones divided, fast ones kept, those between mixed by their wavelength: Llama 3.1.</summary>
    Llama3,
}

/// <summary>
/// The rotary positions of a model: <c>rope_theta</c> and <c>rope_scaling</c> of a HuggingFace configuration, or <c>rope_parameters</c>, which
/// holds both. Which of the values matter depends on <see cref="Scaling"/>.
/// </summary>
public sealed record RotaryConfig
{
    /// <summary><c>rope_theta</c>: base of the frequencies.</summary>
    public double Theta { get; init; } = 10_000;

    /// <summary><c>rope_type</c>.</summary>
    public RotaryScaling Scaling { get; init; }

    /// <summary><c>factor</c>: by how much longer contexts become. For all but the default.</summary>
    public double Factor { get; init; } = 1;

    /// <summary><c>original_max_position_embeddings</c>: the first training's longest sequence. For YaRN and Llama 3.</summary>
    public int OriginalMaxLength { get; init; } = 8192;

    /// <summary><c>low_freq_factor</c>: the original length over this is the wavelength above which frequencies are divided. For Llama 3.</summary>
    public double LowFrequencyFactor { get; init; } = 1;

    /// <summary><c>high_freq_factor</c>: the original length over this is the wavelength below which frequencies are kept. For Llama 3.</summary>
    public double HighFrequencyFactor { get; init; } = 4;

    /// <summary><c>attention_factor</c>: what cosines and sines are multiplied by; derived from the factor when null. For YaRN.</summary>
    public double? AttentionFactor { get; init; }

    /// <summary><c>beta_fast</c>: turns over the original length from which frequencies are kept. For YaRN.</summary>
    public double BetaFast { get; init; } = 32;

    /// <summary><c>beta_slow</c>: turns over the original length up to which frequencies are divided. For YaRN.</summary>
    public double BetaSlow { get; init; } = 1;

    /// <summary><c>mscale</c>: weighs the derived attention factor where <see cref="MScaleAllDim"/> is given too. For YaRN.</summary>
    public double? MScale { get; init; }

    /// <summary><c>mscale_all_dim</c>: weighs what it is divided by. For YaRN.</summary>
    public double? MScaleAllDim { get; init; }

    /// <summary><c>truncate</c>: whether the bounds of the mixed frequencies are whole pairs. For YaRN.</summary>
    public bool Truncate { get; init; } = true;

    /// <summary>What scores are multiplied by beyond the layer's scale: cosines and sines meet twice in them.</summary>
    internal double ScoreFactor => Scaling == RotaryScaling.Yarn ? Math.Pow(YarnAttentionFactor, 2) : 1;

    private double YarnAttentionFactor => AttentionFactor
        ?? (MScale is { } scale and not 0 && MScaleAllDim is { } all and not 0 ? Raised(scale) / Raised(all) : Raised(1));

    /// <exception cref="ArgumentException">A value is out of range; the message names it.</exception>
    internal void Validate()
    {
        Positive(Theta, nameof(Theta));
        Positive(Factor, nameof(Factor));
        ArgumentOutOfRangeException.ThrowIfLessThan(OriginalMaxLength, 1);
        if (!Enum.IsDefined(Scaling)) throw new ArgumentException($"there is no rotary scaling {Scaling}", nameof(Scaling));
        if (Scaling == RotaryScaling.Llama3)
        {
            Positive(LowFrequencyFactor, nameof(LowFrequencyFactor));
            Positive(HighFrequencyFactor, nameof(HighFrequencyFactor));
            if (HighFrequencyFactor <= LowFrequencyFactor)
                throw new ArgumentException($"the high frequency factor {HighFrequencyFactor} is not above the low one, {LowFrequencyFactor}", nameof(HighFrequencyFactor));
        }
        if (Scaling != RotaryScaling.Yarn) return;
        Positive(BetaFast, nameof(BetaFast));
        Positive(BetaSlow, nameof(BetaSlow));
        if (BetaFast < BetaSlow) throw new ArgumentException($"beta fast {BetaFast} is below beta slow {BetaSlow}", nameof(BetaFast));
        if (Theta <= 1) throw new ArgumentException($"the base {Theta} is not above 1, as YaRN needs", nameof(Theta));
        Positive(YarnAttentionFactor, nameof(AttentionFactor));
    }

    /// <summary>Radians a position for each pair of a head's features.</summary>
    internal RotaryFrequencies Frequencies(int headDim)
    {
        var plain = RotaryFrequencies.FromBase(Theta, headDim / 2);
        if (Scaling is RotaryScaling.Default or RotaryScaling.Dynamic) return plain;
        double[] values = plain.Values.ToArray();
        (double low, double high) = Scaling == RotaryScaling.Yarn ? YarnBounds(headDim) : default;
        for (int i = 0; i < values.Length; i++)
        {
            double divided = values[i] / Factor;
            double kept = Scaling switch
            {
                RotaryScaling.Linear => 0,
                RotaryScaling.Llama3 => Math.Clamp((OriginalMaxLength * values[i] / (2 * Math.PI) - LowFrequencyFactor) / (HighFrequencyFactor - LowFrequencyFactor), 0, 1),
                _ => 1 - Math.Clamp((i - low) / (high - low), 0, 1),
            };
            values[i] = (1 - kept) * divided + kept * values[i];
        }
        return new RotaryFrequencies(values);
    }

    // Pairs before the first bound turn fast and are kept, those after the second are divided.
    private (double Low, double High) YarnBounds(int headDim)
    {
        double low = Bound(BetaFast), high = Bound(BetaSlow);
        if (Truncate) (low, high) = (Math.Floor(low), Math.Ceiling(high));
        (low, high) = (Math.Max(low, 0), Math.Min(high, headDim - 1));
        return (low, low == high ? high + 0.001 : high);

        double Bound(double turns) => headDim * Math.Log(OriginalMaxLength / (turns * 2 * Math.PI)) / (2 * Math.Log(Theta));
    }

    private double Raised(double weight) => Factor <= 1 ? 1 : 0.1 * weight * Math.Log(Factor) + 1;

    private static void Positive(double value, string name)
    {
        if (!(value > 0 && double.IsFinite(value))) throw new ArgumentException($"{name} {value} is not positive and finite", name);
    }
}
