namespace Varlen.Models;

/// <summary>
/// Sizes and choices of GPT-2, as in the <c>config.json</c> of HuggingFace's <c>GPT2LMHeadModel</c>. Defaults are the class's own: the
/// model of 124 million parameters.
/// </summary>
public sealed record Gpt2Config
{
    internal const string ModelType = "gpt2";

    /// <summary>The published model of 124 million parameters.</summary>
    public static Gpt2Config Small { get; } = new();

    /// <summary>A model that trains on a laptop's CPU in minutes: 257 ids (bytes and the end of a text), 256 positions, 4 layers of width 128, no dropout.</summary>
    public static Gpt2Config Tiny { get; } = new()
    {
        VocabularySize = 257,
        MaxLength = 256,
        Width = 128,
        Layers = 4,
        Heads = 4,
        ResidualDropout = 0,
        EmbeddingDropout = 0,
        AttentionDropout = 0,
        BeginOfText = null,
        EndOfText = null,
    };

    /// <summary><c>vocab_size</c>: number of token ids.</summary>
    public int VocabularySize { get; init; } = 50257;

    /// <summary><c>n_positions</c>: longest sequence.</summary>
    public int MaxLength { get; init; } = 1024;

    /// <summary><c>n_embd</c>: width of the activations; a multiple of <see cref="Heads"/>.</summary>
    public int Width { get; init; } = 768;

    /// <summary><c>n_layer</c>: blocks.</summary>
    public int Layers { get; init; } = 12;

    /// <summary><c>n_head</c>: attention heads.</summary>
    public int Heads { get; init; } = 12;

    /// <summary><c>n_inner</c>: width of the blocks' networks; four times <see cref="Width"/> when null.</summary>
    public int? Inner { get; init; }

    /// <summary><c>activation_function</c>: <c>gelu_new</c> by default.</summary>
    public Activation Activation { get; init; } = Activation.GeluTanh;

    /// <summary><c>resid_pdrop</c>: dropout of both branches of a block.</summary>
    public double ResidualDropout { get; init; } = 0.1;

    /// <summary><c>embd_pdrop</c>: dropout of the embedding.</summary>
    public double EmbeddingDropout { get; init; } = 0.1;

    /// <summary><c>attn_pdrop</c>: dropout of attention links.</summary>
    public double AttentionDropout { get; init; } = 0.1;

    /// <summary><c>layer_norm_epsilon</c>.</summary>
    public double NormEpsilon { get; init; } = 1e-5;

    /// <summary><c>initializer_range</c>: standard deviation of initial weights.</summary>
    public double InitializerRange { get; init; } = 0.02;

    /// <summary><c>scale_attn_weights</c>: whether scores are divided by the root of the head's size.</summary>
    public bool ScaleAttention { get; init; } = true;

    /// <summary><c>scale_attn_by_inverse_layer_idx</c>: whether scores are divided by the number of the layer, from 1.</summary>
    public bool ScaleByInverseLayer { get; init; }

    /// <summary>
    /// <c>reorder_and_upcast_attn</c>: whether scores are formed in single precision at least. They always are here; the value is kept for
    /// whoever reads the saved model.
    /// </summary>
    public bool ReorderAndUpcast { get; init; }

    /// <summary><c>tie_word_embeddings</c>: whether the output layer's weight is the token embedding.</summary>
    public bool TieWordEmbeddings { get; init; } = true;

    /// <summary><c>bos_token_id</c>: the id that begins a text; none when null.</summary>
    public int? BeginOfText { get; init; } = 50256;

    /// <summary><c>eos_token_id</c>: the id that ends a text; none when null.</summary>
    public int? EndOfText { get; init; } = 50256;

    /// <summary>Width of the blocks' networks.</summary>
    internal int InnerWidth => Inner ?? checked(4 * Width);

    /// <summary>Number of values in all weights.</summary>
    internal double ParameterCount
        => (double)Width * (VocabularySize * (TieWordEmbeddings ? 1.0 : 2.0) + MaxLength + Layers * (4.0 * Width + 2.0 * InnerWidth));

    /// <exception cref="ArgumentException">A value is out of range; the message names it.</exception>
    internal void Validate()
    {
        ModelSizes.Validate(VocabularySize, MaxLength, Width, Heads, Layers);
        if (InnerWidth < 1) throw new ArgumentException($"the inner width {InnerWidth} is below 1", nameof(Inner));
        ModelSizes.Probability(ResidualDropout, nameof(ResidualDropout));
        ModelSizes.Probability(EmbeddingDropout, nameof(EmbeddingDropout));
        ModelSizes.Probability(AttentionDropout, nameof(AttentionDropout));
        if (!(NormEpsilon >= 0 && double.IsFinite(NormEpsilon))) throw new ArgumentException($"epsilon {NormEpsilon} is not a finite number of at least 0", nameof(NormEpsilon));
        if (!(InitializerRange >= 0 && double.IsFinite(InitializerRange))) throw new ArgumentException($"the initial deviation {InitializerRange} is not a finite number of at least 0", nameof(InitializerRange));
        if (!Enum.IsDefined(Activation)) throw new ArgumentException($"there is no activation {Activation}", nameof(Activation));
    }

    internal static Gpt2Config Read(ModelConfigFile file)
    {
        file.RequireModel(ModelType);
        file.RequireOff("add_cross_attention", "cross-attention needs an encoder, and there is none");
        file.RequireOff("is_encoder_decoder", "there is no encoder");
        file.RequireOff("pruned_heads", "all heads are computed");
        file.RequireOff("quantization_config", "weights are not quantised");
        file.RequireOn("is_causal", "a token of GPT-2 sees nothing after itself");
        Gpt2Config small = Small;
        var config = new Gpt2Config
        {
            VocabularySize = file.Size("vocab_size", small.VocabularySize),
            MaxLength = file.Size("n_positions", small.MaxLength, "max_position_embeddings"),
            Width = file.Size("n_embd", small.Width, "hidden_size"),
            Layers = file.Size("n_layer", small.Layers, "num_hidden_layers"),
            Heads = file.Size("n_head", small.Heads, "num_attention_heads"),
            Inner = file.Whole("n_inner", 1, 1 << 30),
            Activation = file.Choice("activation_function",
                ("gelu_new", Activation.GeluTanh), ("gelu_pytorch_tanh", Activation.GeluTanh), ("gelu_fast", Activation.GeluTanh), ("gelu_accurate", Activation.GeluTanh), ("gelu_python_tanh", Activation.GeluTanh),
                ("gelu", Activation.Gelu), ("gelu_python", Activation.Gelu), ("relu", Activation.Relu)),
            ResidualDropout = file.Number("resid_pdrop", small.ResidualDropout, 0, ModelSizes.BelowOne),
            EmbeddingDropout = file.Number("embd_pdrop", small.EmbeddingDropout, 0, ModelSizes.BelowOne),
            AttentionDropout = file.Number("attn_pdrop", small.AttentionDropout, 0, ModelSizes.BelowOne),
            NormEpsilon = file.Number("layer_norm_epsilon", small.NormEpsilon, 0, 1),
            InitializerRange = file.Number("initializer_range", small.InitializerRange, 0, 1e3),
            ScaleAttention = file.Flag("scale_attn_weights", small.ScaleAttention),
            ScaleByInverseLayer = file.Flag("scale_attn_by_inverse_layer_idx", small.ScaleByInverseLayer),
            ReorderAndUpcast = file.Flag("reorder_and_upcast_attn", small.ReorderAndUpcast),
            TieWordEmbeddings = file.Flag("tie_word_embeddings", small.TieWordEmbeddings),
            BeginOfText = file.Has("bos_token_id") ? file.Whole("bos_token_id", 0, int.MaxValue) : small.BeginOfText,
            EndOfText = ReadEnd(file),
        };
        file.Check(config.Validate);
        return config;
    }

    private static int? ReadEnd(ModelConfigFile file)
    {
        if (!file.Has("eos_token_id")) return Small.EndOfText;
        IReadOnlyList<int> ends = file.Wholes("eos_token_id", 0, int.MaxValue);
        return ends.Count <= 1 ? ends.Cast<int?>().SingleOrDefault() : throw file.Refused("eos_token_id", "one id ends a text here", "keep the one that ends a text");
    }

    internal Dictionary<string, object?> ToJson(DType stored) => new()
    {
        ["architectures"] = (string[])["GPT2LMHeadModel"],
        ["model_type"] = ModelType,
        ["vocab_size"] = VocabularySize,
        ["n_positions"] = MaxLength,
        ["n_ctx"] = MaxLength,
        ["n_embd"] = Width,
        ["n_layer"] = Layers,
        ["n_head"] = Heads,
        ["n_inner"] = Inner,
        ["activation_function"] = Activation switch { Activation.GeluTanh => "gelu_new", Activation.Gelu => "gelu", _ => "relu" },
        ["resid_pdrop"] = ResidualDropout,
        ["embd_pdrop"] = EmbeddingDropout,
        ["attn_pdrop"] = AttentionDropout,
        ["layer_norm_epsilon"] = NormEpsilon,
        ["initializer_range"] = InitializerRange,
        ["scale_attn_weights"] = ScaleAttention,
        ["scale_attn_by_inverse_layer_idx"] = ScaleByInverseLayer,
        ["reorder_and_upcast_attn"] = ReorderAndUpcast,
        ["tie_word_embeddings"] = TieWordEmbeddings,
        ["bos_token_id"] = BeginOfText,
        ["eos_token_id"] = EndOfText,
        ["torch_dtype"] = stored == DType.Float64 ? "float64" : "float32",
    };
}
