namespace Varlen.Models;

/// <summary>Sizes and choices of a <see cref="Decoder"/>. The defaults are those of the reference decoder that step times are compared on.</summary>
public sealed record DecoderConfig
{
    internal const string ModelType = "varlen-decoder";

    /// <summary>Number of token ids.</summary>
    public int VocabularySize { get; init; } = 1024;

    /// <summary>Longest sequence: the number of learned positions.</summary>
    public int MaxLength { get; init; } = 1024;

    /// <summary>Width of the activations; a multiple of <see cref="Heads"/>.</summary>
    public int Width { get; init; } = 1024;

    /// <summary>Attention heads.</summary>
    public int Heads { get; init; } = 16;

    /// <summary>Blocks.</summary>
    public int Layers { get; init; } = 24;

    /// <summary>Whether norms have a shift.</summary>
    public bool NormBias { get; init; }

    /// <summary>Whether a norm comes before the output layer.</summary>
    public bool FinalNorm { get; init; }

    /// <summary>Whether the output layer has a bias.</summary>
    public bool HeadBias { get; init; } = true;

    /// <summary>Whether the output layer's weight is the token embedding.</summary>
    public bool TiedHead { get; init; }

    /// <summary>Nonlinearity of the blocks' networks.</summary>
    public Activation Activation { get; init; } = Activation.Gelu;

    /// <summary>Chance of an element to be dropped in training: of the embedding, of both branches of each block, and of attention links.</summary>
    public double Dropout { get; init; }

    /// <summary>
    /// Whether a token sees only itself and what is before it, as predicting its successor needs. False is full attention within each
    /// sequence, as the reference decoder is evaluated; it cannot generate.
    /// </summary>
    public bool Causal { get; init; } = true;

    /// <summary>Number of values in all weights.</summary>
    internal double ParameterCount => (double)Width * (VocabularySize * (TiedHead ? 1.0 : 2.0) + MaxLength + Layers * 12.0 * Width);

    /// <exception cref="ArgumentException">A value is out of range; the message names it.</exception>
    internal void Validate()
    {
        ModelSizes.Validate(VocabularySize, MaxLength, Width, Heads, Layers);
        ModelSizes.Probability(Dropout, nameof(Dropout));
        if (!Enum.IsDefined(Activation)) throw new ArgumentException($"there is no activation {Activation}", nameof(Activation));
    }

    internal static DecoderConfig Read(ModelConfigFile file)
    {
        file.RequireModel(ModelType);
        file.RequireKnown("model_type", "vocabulary_size", "max_length", "width", "heads", "layers", "norm_bias", "final_norm", "head_bias", "tied_head", "activation", "dropout", "causal");
        var defaults = new DecoderConfig();
        var config = new DecoderConfig
        {
            VocabularySize = file.Size("vocabulary_size"),
            MaxLength = file.Size("max_length"),
            Width = file.Size("width"),
            Heads = file.Size("heads"),
            Layers = file.Size("layers"),
            NormBias = file.Flag("norm_bias", defaults.NormBias),
            FinalNorm = file.Flag("final_norm", defaults.FinalNorm),
            HeadBias = file.Flag("head_bias", defaults.HeadBias),
            TiedHead = file.Flag("tied_head", defaults.TiedHead),
            Activation = file.Choice("activation", ("gelu", Activation.Gelu), ("gelu_tanh", Activation.GeluTanh), ("relu", Activation.Relu)),
            Dropout = file.Number("dropout", defaults.Dropout, 0, ModelSizes.BelowOne),
            Causal = file.Flag("causal", defaults.Causal),
        };
        file.Check(config.Validate);
        return config;
    }

    internal Dictionary<string, object?> ToJson() => new()
    {
        ["model_type"] = ModelType,
        ["vocabulary_size"] = VocabularySize,
        ["max_length"] = MaxLength,
        ["width"] = Width,
        ["heads"] = Heads,
        ["layers"] = Layers,
        ["norm_bias"] = NormBias,
        ["final_norm"] = FinalNorm,
        ["head_bias"] = HeadBias,
        ["tied_head"] = TiedHead,
        ["activation"] = Activation switch { Activation.Gelu => "gelu", Activation.GeluTanh => "gelu_tanh", _ => "relu" },
        ["dropout"] = Dropout,
        ["causal"] = Causal,
    };
}

/// <summary>Checks that configurations share.</summary>
internal static class ModelSizes
{
    /// <summary>Largest double below one.</summary>
    public static readonly double BelowOne = Math.BitDecrement(1.0);

    public static void Validate(int vocabulary, int maxLength, int width, int heads, int layers)
    {
        Validate(vocabulary, maxLength, layers);
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(heads, 1);
        if (width % heads != 0) throw new ArgumentException($"width {width} is not a multiple of {heads} heads", nameof(width));
        if (width / heads > Ops.Attention.MaxHeadDim)
            throw new ArgumentException($"width {width} over {heads} heads gives heads of {width / heads}, above {Ops.Attention.MaxHeadDim}; use more heads", nameof(heads));
    }

    public static void Validate(int vocabulary, int maxLength, int layers)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(vocabulary, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxLength, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(layers);
        // Twice a block's index numbers its dropouts.
        if (layers > 32_000) throw new ArgumentException($"{layers} layers are more than 32000", nameof(layers));
    }

    public static void Probability(double value, string name)
    {
        if (!(value >= 0 && value < 1)) throw new ArgumentException($"{name} {value} is not a probability of at least 0 and below 1", name);
    }
}
