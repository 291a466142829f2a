namespace Varlen.Models;

public sealed partial record LlamaConfig
{
    internal const string Llama = "llama", Qwen2 = "qwen2", Mistral = "mistral";
    private const string Full = "full_attention", Sliding = "sliding_attention";

    // What the classes take for fields that a file does not have.
    private static LlamaConfig Defaults(LlamaFamily family) => family switch
    {
        LlamaFamily.Qwen2 => new() { Family = family, VocabularySize = 151_936, MaxLength = 32_768, Inner = 22_016, KeyValueHeads = 32, SlidingWindow = 4096 },
        LlamaFamily.Mistral => new() { Family = family, MaxLength = 131_072, Inner = 14_336, KeyValueHeads = 8, SlidingWindow = 4096, BeginOfText = 1, EndOfText = [2] },
        _ => new() { BeginOfText = 1, EndOfText = [2] },
    };

    internal static LlamaConfig Read(ModelConfigFile file)
    {
        file.RequireModel(Llama, Qwen2, Mistral);
        file.RequireOff("quantization_config", "weights are not quantised");
        file.RequireOff("pruned_heads", "all heads are computed");
        file.RequireOff("is_encoder_decoder", "there is no encoder");
        file.RequireOff("add_cross_attention", "cross-attention needs an encoder, and there is none");
        file.RequireOn("is_causal", "a token of these models sees nothing after itself");
        file.Choice("hidden_act", ("silu", 0), ("swish", 0));
        // Pieces that the same product was once cut into.
        _ = file.Whole("pretraining_tp", 0, int.MaxValue);
        LlamaConfig defaults = Defaults(file.ModelType switch { Qwen2 => LlamaFamily.Qwen2, Mistral => LlamaFamily.Mistral, _ => LlamaFamily.Llama });
        bool isLlama = defaults.Family == LlamaFamily.Llama;
        if (!isLlama)
        {
            file.RequireOff("attention_bias", $"biases are no choice of {file.ModelType}");
            file.RequireOff("mlp_bias", $"biases are no choice of {file.ModelType}");
        }
        int layers = file.Size("num_hidden_layers", defaults.Layers), length = file.Size("max_position_embeddings", defaults.MaxLength);
        (int? window, bool[]? sliding) = ReadLayers(file, defaults.Family, layers, ReadWindow(file, defaults));
        var config = defaults with
        {
            VocabularySize = file.Size("vocab_size", defaults.VocabularySize),
            MaxLength = length,
            Width = file.Size("hidden_size", defaults.Width),
            Inner = file.Size("intermediate_size", defaults.Inner),
            Layers = layers,
            Heads = file.Size("num_attention_heads", defaults.Heads),
            KeyValueHeads = file.Has("num_key_value_heads") ? file.Whole("num_key_value_heads", 1, 1 << 30) : defaults.KeyValueHeads,
            HeadDim = file.Whole("head_dim", 1, 1 << 30),
            NormEpsilon = file.Number("rms_norm_eps", defaults.NormEpsilon, 0, 1),
            InitializerRange = file.Number("initializer_range", defaults.InitializerRange, 0, 1e3),
            Rotary = RotaryConfigFile.Read(file, length),
            AttentionBias = isLlama && file.Flag("attention_bias", defaults.AttentionBias),
            MlpBias = isLlama && file.Flag("mlp_bias", defaults.MlpBias),
            AttentionDropout = file.Number("attention_dropout", defaults.AttentionDropout, 0, ModelSizes.BelowOne),
            TieWordEmbeddings = file.Flag("tie_word_embeddings", defaults.TieWordEmbeddings),
            SlidingWindow = window,
            SlidingLayers = sliding,
            BeginOfText = file.Has("bos_token_id") ? file.Whole("bos_token_id", 0, int.MaxValue) : defaults.BeginOfText,
            EndOfText = file.Has("eos_token_id") ? file.Wholes("eos_token_id", 0, int.MaxValue) : defaults.EndOfText,
            Padding = file.Whole("pad_token_id", 0, int.MaxValue),
        };
        file.Check(config.Validate);
        return config;
    }

    internal Dictionary<string, object?> ToJson(DType stored)
    {
        string kind = Family switch { LlamaFamily.Qwen2 => Qwen2, LlamaFamily.Mistral => Mistral, _ => Llama };
        var values = new Dictionary<string, object?>
        {
            ["architectures"] = (string[])[$"{Family}ForCausalLM"],
            ["model_type"] = kind,
            ["vocab_size"] = VocabularySize,
            ["max_position_embeddings"] = MaxLength,
            ["hidden_size"] = Width,
            ["intermediate_size"] = Inner,
            ["num_hidden_layers"] = Layers,
            ["num_attention_heads"] = Heads,
            ["num_key_value_heads"] = KeyHeads,
            ["head_dim"] = HeadSize,
            ["hidden_act"] = "silu",
            ["rms_norm_eps"] = NormEpsilon,
            ["initializer_range"] = InitializerRange,
            ["attention_dropout"] = AttentionDropout,
            ["tie_word_embeddings"] = TieWordEmbeddings,
            ["bos_token_id"] = BeginOfText,
            ["eos_token_id"] = EndOfText.Count switch { 0 => null, 1 => EndOfText[0], _ => EndOfText },
            ["pad_token_id"] = Padding,
            ["torch_dtype"] = stored == DType.Float64 ? "float64" : "float32",
        };
        RotaryConfigFile.Write(Rotary, values);
        if (Family == LlamaFamily.Llama) (values["attention_bias"], values["mlp_bias"]) = (AttentionBias, MlpBias);
        else values["sliding_window"] = SlidingWindow;
        if (Family == LlamaFamily.Qwen2)
        {
            values["use_sliding_window"] = SlidingWindow is not null;
            // What readers of before layer_types go by: right for windows in the last layers, which is all that they know.
            values["max_window_layers"] = SlidingLayers is { } sliding ? sliding.TakeWhile(isSliding => !isSliding).Count() : Layers;
            if (SlidingLayers is not null) values["layer_types"] = SlidingLayers.Select(isSliding => isSliding ? Sliding : Full).ToArray();
        }
        return values;
    }

    private static int? ReadWindow(ModelConfigFile file, LlamaConfig defaults)
    {
        if (defaults.Family == LlamaFamily.Llama)
        {
            // A field that the class does not have, and ignores: nobody would know which was meant.
            if (file.Whole("sliding_window", int.MinValue, int.MaxValue) is not null) throw file.Refused("sliding_window", "the class does not have it", $"remove it, or write the model_type {Mistral}");
            file.RequireOff("use_sliding_window", "the class does not have it");
            return null;
        }
        int? window = file.Has("sliding_window") ? file.Whole("sliding_window", 1, int.MaxValue) : defaults.SlidingWindow;
        return defaults.Family == LlamaFamily.Mistral || file.Flag("use_sliding_window", false) ? window : null;
    }

    // The window, if any layer has it, and which do.
    private static (int? Window, bool[]? Sliding) ReadLayers(ModelConfigFile file, LlamaFamily family, int layers, int? window)
    {
        bool all = window is not null;
        bool[]? given = file.Texts("layer_types")?.Select(type => type switch
        {
            Full => false,
            Sliding => true,
            _ => throw file.Refused("layer_types", $"layers are {Full} or {Sliding}", "use a model of such layers"),
        }).ToArray();
        if (given is not null && given.Length != layers) throw file.Refused("layer_types", $"it has {given.Length} entries for {layers} layers", "correct it");
        if (family != LlamaFamily.Qwen2)
        {
            if (given is not null && given.Any(isSliding => isSliding != all)) throw file.Refused("layer_types", $"the class does not have it, and makes all layers {(all ? Sliding : Full)}", "remove it");
            return (window, null);
        }
        int first = file.Whole("max_window_layers", 0, int.MaxValue) ?? 28;
        if (!all)
        {
            if (given is not null && given.Contains(true)) throw file.Refused("layer_types", $"it has {Sliding}, and there is no window", "write use_sliding_window and sliding_window");
            return (null, null);
        }
        bool[] sliding = given ?? [.. Enumerable.Range(0, layers).Select(layer => layer >= first)];
        return sliding.Contains(true) ? (window, sliding) : (null, null);
    }
}
