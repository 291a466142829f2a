namespace Varlen.Models;

/// <summary>Rotary positions in <c>config.json</c>: the form of transformers 4 (<c>rope_theta</c> and <c>rope_scaling</c>) and of 5 (<c>rope_parameters</c>).</summary>
internal static class RotaryConfigFile
{
    private const string Scaling = "rope_scaling", Parameters = "rope_parameters", Theta = "rope_theta", OriginalLength = "original_max_position_embeddings", Share = "partial_rotary_factor";
    private const double Least = double.Epsilon, Largest = double.MaxValue;

    public static RotaryConfig Read(ModelConfigFile file, int maxLength)
    {
        RequireWholeHeads(file);
        ModelConfigFile? old = file.Section(Scaling), section = old ?? file.Section(Parameters);
        if (old is not null && file.Section(Parameters) is not null) throw file.Refused(Scaling, $"there is {Parameters} too, and both mean the same", "keep one of them");
        var plain = new RotaryConfig();
        double theta = file.Number(Theta, section?.Number(Theta, plain.Theta, Least, Largest) ?? plain.Theta, Least, Largest);
        if (section is null) return plain with { Theta = theta };
        if (section.Has(Theta) && section.Number(Theta, theta, Least, Largest) != theta) throw section.Refused(Theta, $"{Theta} outside of it is {theta:R}", "keep one of them");
        RequireWholeHeads(section);
        RotaryScaling scaling = Kind(section, "rope_type") ?? Kind(section, "type") ?? RotaryScaling.Default;
        section.RequireKnown(KeysOf(scaling));
        if (scaling == RotaryScaling.Default) return plain with { Theta = theta };
        if (!section.Has("factor") && scaling != RotaryScaling.Yarn) throw section.Refused("factor", $"{Name(scaling)} needs it", "use the config.json that was saved with the weights");
        // As transformers reads them: the one outside counts first.
        int length = file.Whole(OriginalLength, 1, 1 << 30) ?? section.Whole(OriginalLength, 1, 1 << 30) ?? maxLength;
        var read = new RotaryConfig
        {
            Theta = theta,
            Scaling = scaling,
            Factor = section.Number("factor", (double)maxLength / length, Least, Largest),
        };
        return scaling switch
        {
            RotaryScaling.Llama3 => read with { OriginalMaxLength = length, LowFrequencyFactor = Required("low_freq_factor"), HighFrequencyFactor = Required("high_freq_factor") },
            RotaryScaling.Yarn => read with
            {
                OriginalMaxLength = length,
                AttentionFactor = Optional("attention_factor"),
                BetaFast = Optional("beta_fast") ?? plain.BetaFast,
                BetaSlow = Optional("beta_slow") ?? plain.BetaSlow,
                MScale = Optional("mscale"),
                MScaleAllDim = Optional("mscale_all_dim"),
                Truncate = section.Flag("truncate", true),
            },
            _ => read,
        };

        double? Optional(string key) => section.Number(key, -1, 0, Largest) is >= 0 and var value ? value : null;

        double Required(string key) => Optional(key) ?? throw section.Refused(key, $"{Name(scaling)} needs it", "use the config.json that was saved with the weights");
    }

    /// <summary>The form of transformers 4, which 5 reads as well.</summary>
    public static void Write(RotaryConfig config, Dictionary<string, object?> values)
    {
        values[Theta] = config.Theta;
        if (config.Scaling == RotaryScaling.Default)
        {
            values[Scaling] = null;
            return;
        }
        var section = new Dictionary<string, object?> { ["rope_type"] = Name(config.Scaling), ["factor"] = config.Factor };
        if (config.Scaling is RotaryScaling.Llama3 or RotaryScaling.Yarn) section[OriginalLength] = config.OriginalMaxLength;
        if (config.Scaling == RotaryScaling.Llama3) (section["low_freq_factor"], section["high_freq_factor"]) = (config.LowFrequencyFactor, config.HighFrequencyFactor);
        if (config.Scaling == RotaryScaling.Yarn)
        {
            (section["beta_fast"], section["beta_slow"], section["truncate"]) = (config.BetaFast, config.BetaSlow, config.Truncate);
            if (config.AttentionFactor is { } factor) section["attention_factor"] = factor;
            if (config.MScale is { } scale) section["mscale"] = scale;
            if (config.MScaleAllDim is { } all) section["mscale_all_dim"] = all;
        }
        values[Scaling] = section;
    }

    private static void RequireWholeHeads(ModelConfigFile file)
    {
        if (file.Number(Share, 1, 0, 1) != 1) throw file.Refused(Share, "heads of these models turn whole", "use a model without it");
    }

    private static RotaryScaling? Kind(ModelConfigFile section, string key) => !section.Has(key) ? null : section.Choice(key,
        (Name(RotaryScaling.Default), RotaryScaling.Default), (Name(RotaryScaling.Linear), RotaryScaling.Linear), (Name(RotaryScaling.Dynamic), RotaryScaling.Dynamic),
        (Name(RotaryScaling.Yarn), RotaryScaling.Yarn), (Name(RotaryScaling.Llama3), RotaryScaling.Llama3));

    private static string[] KeysOf(RotaryScaling scaling) =>
    [
        Theta, Share, "rope_type", "type",
        .. scaling == RotaryScaling.Default ? (string[])[] : ["factor", OriginalLength],
        .. scaling == RotaryScaling.Llama3 ? (string[])["low_freq_factor", "high_freq_factor"] : [],
        .. scaling == RotaryScaling.Yarn ? (string[])["attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"] : [],
    ];

    private static string Name(RotaryScaling scaling) => scaling.ToString().ToLowerInvariant();
}
