namespace Varlen.Models;

/// <summary>Which of HuggingFace's classes a configuration is of; they differ in biases, windows and defaults.</summary>
public enum LlamaFamily
{
    /// <summary><c>LlamaForCausalLM</c>: biases by choice, no window.</summary>
    Llama,
    /// <summary><c>Qwen2ForCausalLM</c>: queries, keys and values have a bias, and some layers may have a window.</summary>
    Qwen2,
    /// <summary><c>MistralForCausalLM</c>: no bias, and one window for all layers.</summary>
    Mistral,
}

/// <summary>
/// Sizes and choices of a decoder in the manner of Llama: RMS norms, rotary positions, SwiGLU networks, and heads that share keys and
/// values. The fields are those of HuggingFace's <c>LlamaConfig</c>, <c>Qwen2Config</c> and <c>MistralConfig</c>.
/// </summary>
public sealed partial record LlamaConfig
{
    /// <summary><c>model_type</c>.</summary>
    public LlamaFamily Family { get; init; }

    /// <summary><c>vocab_size</c>: number of token ids.</summary>
    public int VocabularySize { get; init; } = 32_000;

    /// <summary><c>max_position_embeddings</c>: longest sequence.</summary>
    public int MaxLength { get; init; } = 2048;

    /// <summary><c>hidden_size</c>: width of the activations.</summary>
    public int Width { get; init; } = 4096;

    /// <summary><c>intermediate_size</c>: width of the blocks' networks.</summary>
    public int Inner { get; init; } = 11_008;

    /// <summary><c>num_hidden_layers</c>: blocks.</summary>
    public int Layers { get; init; } = 32;

    /// <summary><c>num_attention_heads</c>: heads of queries.</summary>
    public int Heads { get; init; } = 32;

    /// <summary><c>num_key_value_heads</c>: heads of keys and values, which divide <see cref="Heads"/>; as many when null.</summary>
    public int? KeyValueHeads { get; init; }

    /// <summary><c>head_dim</c>: features of a head, even; <see cref="Width"/> over <see cref="Heads"/> when null.</summary>
    public int? HeadDim { get; init; }

    /// <summary><c>rms_norm_eps</c>.</summary>
    public double NormEpsilon { get; init; } = 1e-6;

    /// <summary><c>initializer_range</c>: standard deviation of initial weights.</summary>
    public double InitializerRange { get; init; } = 0.02;

    /// <summary><c>rope_theta</c>, <c>rope_scaling</c>, <c>rope_parameters</c>.</summary>
    public RotaryConfig Rotary { get; init; } = new();

    /// <summary><c>attention_bias</c>: whether the four projections of attention have a bias. For <see cref="LlamaFamily.Llama"/>.</summary>
    public bool AttentionBias { get; init; }

    /// <summary><c>mlp_bias</c>: whether the three projections of the network have a bias. For <see cref="LlamaFamily.Llama"/>.</summary>
    public bool MlpBias { get; init; }

    /// <summary><c>attention_dropout</c>: dropout of attention links.</summary>
    public double AttentionDropout { get; init; }

    /// <summary><c>tie_word_embeddings</c>: whether the output layer's weight is the token embedding.</summary>
    public bool TieWordEmbeddings { get; init; }

    /// <summary>
    /// <c>sliding_window</c>: how many tokens a token sees, itself counted; all before it when null. Of every layer for
    /// <see cref="LlamaFamily.Mistral"/>, of those in <see cref="SlidingLayers"/> for <see cref="LlamaFamily.Qwen2"/>.
    /// </summary>
    public int? SlidingWindow { get; init; }

    /// <summary><c>layer_types</c>, <c>max_window_layers</c>: for each layer whether it has the window. For <see cref="LlamaFamily.Qwen2"/> with one.</summary>
    public IReadOnlyList<bool>? SlidingLayers { get; init; }

    /// <summary><c>bos_token_id</c>: the id that begins a text; none when null.</summary>
    public int? BeginOfText { get; init; }

    /// <summary><c>eos_token_id</c>: the ids that end a text.</summary>
    public IReadOnlyList<int> EndOfText { get; init; } = [];

    /// <summary><c>pad_token_id</c>: an id whose row of the embedding is not trained, as PyTorch's <c>padding_idx</c>; none when null.</summary>
    public int? Padding { get; init; }

    /// <summary>Heads of keys and values.</summary>
    internal int KeyHeads => KeyValueHeads ?? Heads;

    /// <summary>Features of a head.</summary>
    internal int HeadSize => HeadDim ?? Width / Heads;

    internal bool QkvBias => AttentionBias || Family == LlamaFamily.Qwen2;

    /// <summary>Number of values in all weights.</summary>
    internal double ParameterCount
        => (double)Width * (VocabularySize * (TieWordEmbeddings ? 1.0 : 2.0) + Layers * (2.0 * HeadSize * (Heads + KeyHeads) + 3.0 * Inner));

    /// <summary>How many tokens before itself a token sees in a layer; all when null.</summary>
    internal int? PreviousOf(int layer) => SlidingWindow is { } window && (Family == LlamaFamily.Mistral || SlidingLayers![layer]) ? window - 1 : null;

    /// <exception cref="ArgumentException">A value is out of range; the message names it.</exception>
    internal void Validate()
    {
        ModelSizes.Validate(VocabularySize, MaxLength, Layers);
        ArgumentOutOfRangeException.ThrowIfLessThan(Width, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(Inner, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(Heads, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(KeyHeads, 1, nameof(KeyValueHeads));
        if (!Enum.IsDefined(Family)) throw new ArgumentException($"there is no family {Family}", nameof(Family));
        // Llama's class refuses it even where head_dim is given, and a model that was saved has to open there.
        if (Width % Heads != 0 && (HeadDim is null || Family == LlamaFamily.Llama)) throw new ArgumentException($"width {Width} is not a multiple of {Heads} heads", nameof(Width));
        if (Heads % KeyHeads != 0) throw new ArgumentException($"{Heads} heads are not a multiple of {KeyHeads} heads of keys and values", nameof(KeyValueHeads));
        if (HeadSize < 2 || HeadSize % 2 != 0 || HeadSize > Ops.Attention.MaxHeadDim)
            throw new ArgumentException($"heads have {HeadSize} features; rotary positions turn pairs, and attention takes up to {Ops.Attention.MaxHeadDim}", nameof(HeadDim));
        ModelSizes.Probability(AttentionDropout, nameof(AttentionDropout));
        if (!(NormEpsilon >= 0 && double.IsFinite(NormEpsilon))) throw new ArgumentException($"epsilon {NormEpsilon} is not a finite number of at least 0", nameof(NormEpsilon));
        if (!(InitializerRange >= 0 && double.IsFinite(InitializerRange))) throw new ArgumentException($"the initial deviation {InitializerRange} is not a finite number of at least 0", nameof(InitializerRange));
        if (Family != LlamaFamily.Llama && (AttentionBias || MlpBias)) throw new ArgumentException($"biases are no choice of {Family}", AttentionBias ? nameof(AttentionBias) : nameof(MlpBias));
        if (SlidingWindow is { } window && (window < 1 || Family == LlamaFamily.Llama))
            throw new ArgumentException(window < 1 ? $"a window of {window} tokens hides a token from itself" : $"{Family} has no window; use {LlamaFamily.Mistral} or {LlamaFamily.Qwen2}", nameof(SlidingWindow));
        if ((SlidingLayers is not null) != (SlidingWindow is not null && Family == LlamaFamily.Qwen2) || SlidingLayers is { } layers && layers.Count != Layers)
            throw new ArgumentException($"which layers have the window is said for each of the {Layers} layers of a {LlamaFamily.Qwen2} with one, and nowhere else", nameof(SlidingLayers));
        if (Padding is { } padding && (uint)padding >= (uint)VocabularySize) throw new ArgumentException($"the padding id {padding} is not in the vocabulary of {VocabularySize}", nameof(Padding));
        Rotary.Validate();
    }
}
