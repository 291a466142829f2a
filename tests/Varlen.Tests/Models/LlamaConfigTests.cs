using Varlen.Models;
using Xunit;

namespace Varlen.Tests.Models;

/// <summary>Fields of HuggingFace's configurations: honoured, or refused by name.</summary>
public sealed class LlamaConfigTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private LlamaConfig Read(string json)
    {
        File.WriteAllText(_folder["config.json"], json);
        return LlamaConfig.Read(ModelConfigFile.Open(_folder.Path));
    }

    [Theory]
    [InlineData("""{"model_type":"llama","hidden_act":"gelu"}""", "hidden_act is 'gelu'", "silu")]
    [InlineData("""{"model_type":"llama","num_key_value_heads":5}""", "do not fit together", "32 heads are not a multiple of 5")]
    [InlineData("""{"model_type":"llama","head_dim":7}""", "do not fit together", "7 features")]
    [InlineData("""{"model_type":"llama","head_dim":258}""", "do not fit together", "258 features")]
    [InlineData("""{"model_type":"llama","hidden_size":100}""", "do not fit together", "width 100 is not a multiple of 32 heads")]
    [InlineData("""{"model_type":"qwen2","hidden_size":100}""", "do not fit together", "width 100 is not a multiple of 32 heads")]
    [InlineData("""{"model_type":"llama","sliding_window":8}""", "sliding_window is 8", "mistral")]
    [InlineData("""{"model_type":"llama","use_sliding_window":true}""", "use_sliding_window", "does not have it")]
    [InlineData("""{"model_type":"llama","layer_types":["sliding_attention"],"num_hidden_layers":1}""", "layer_types", "all layers full_attention")]
    [InlineData("""{"model_type":"mistral","layer_types":["full_attention"],"num_hidden_layers":1}""", "layer_types", "all layers sliding_attention")]
    [InlineData("""{"model_type":"mistral","sliding_window":0}""", "sliding_window is 0", "from 1 to")]
    [InlineData("""{"model_type":"qwen2","layer_types":["chunked_attention"],"num_hidden_layers":1}""", "layer_types", "full_attention or sliding_attention")]
    [InlineData("""{"model_type":"qwen2","layer_types":["full_attention"]}""", "layer_types", "1 entries for 32 layers")]
    [InlineData("""{"model_type":"qwen2","layer_types":["sliding_attention"],"num_hidden_layers":1}""", "layer_types", "there is no window")]
    [InlineData("""{"model_type":"qwen2","layer_types":3}""", "layer_types", "list of strings")]
    [InlineData("""{"model_type":"qwen2","attention_bias":true}""", "attention_bias", "no choice of qwen2")]
    [InlineData("""{"model_type":"mistral","mlp_bias":true}""", "mlp_bias", "no choice of mistral")]
    [InlineData("""{"model_type":"llama","attention_dropout":1.0}""", "attention_dropout", "from 0 to")]
    [InlineData("""{"model_type":"llama","partial_rotary_factor":0.5}""", "partial_rotary_factor is 0.5", "turn whole")]
    [InlineData("""{"model_type":"llama","is_causal":false}""", "is_causal", "nothing after itself")]
    [InlineData("""{"model_type":"llama","pretraining_tp":"2"}""", "pretraining_tp", "not a whole number")]
    [InlineData("""{"model_type":"llama","quantization_config":{"bits":4}}""", "quantization_config", "not quantised")]
    [InlineData("""{"model_type":"llama","eos_token_id":[2,"3"]}""", "eos_token_id", "list of them")]
    [InlineData("""{"model_type":"llama","pad_token_id":32000}""", "do not fit together", "padding id 32000")]
    [InlineData("""{"model_type":"llama","rope_theta":0}""", "rope_theta is 0", "is not from")]
    [InlineData("""{"model_type":"llama","rope_scaling":3}""", "rope_scaling is 3", "not an object")]
    [InlineData("""{"model_type":"llama","rope_scaling":{"type":"longrope","factor":2}}""", "rope_scaling.type is 'longrope'", "default, linear, dynamic, yarn, llama3")]
    [InlineData("""{"model_type":"llama","rope_scaling":{"type":"linear"}}""", "rope_scaling.factor is missing", "linear needs it")]
    [InlineData("""{"model_type":"llama","rope_scaling":{"rope_type":"linear","factor":2,"alpha":1}}""", "'rope_scaling.alpha'", "no such setting")]
    [InlineData("""{"model_type":"llama","rope_parameters":{"rope_type":"linear","factor":-2}}""", "rope_parameters.factor is -2", "is not from")]
    [InlineData("""{"model_type":"llama","rope_parameters":{"rope_theta":5},"rope_theta":6}""", "rope_parameters.rope_theta is 5", "is 6")]
    [InlineData("""{"model_type":"llama","rope_parameters":{"rope_theta":5},"rope_scaling":{"type":"linear","factor":2}}""", "rope_scaling", "keep one of them")]
    [InlineData("""{"model_type":"llama","rope_parameters":{"full_attention":{"rope_theta":5}}}""", "'rope_parameters.full_attention'", "no such setting")]
    [InlineData("""{"model_type":"llama","rope_scaling":{"rope_type":"llama3","factor":2,"low_freq_factor":1}}""", "rope_scaling.high_freq_factor is missing", "llama3 needs it")]
    [InlineData("""{"model_type":"llama","rope_scaling":{"rope_type":"llama3","factor":2,"low_freq_factor":4,"high_freq_factor":4}}""", "do not fit together", "not above the low one")]
    [InlineData("""{"model_type":"llama","rope_scaling":{"rope_type":"yarn","factor":2,"beta_fast":1,"beta_slow":2}}""", "do not fit together", "beta fast")]
    public void WhatIsNotSupportedIsRefusedByName(string json, string what, string detail)
    {
        string message = Assert.Throws<CheckpointFormatException>(() => Read(json)).Message;
        Assert.Contains(what, message, StringComparison.Ordinal);
        Assert.Contains(detail, message, StringComparison.Ordinal);
        Assert.Contains(_folder["config.json"], message, StringComparison.Ordinal);
    }

    [Fact]
    public void MissingFieldsAreThoseOfTheClass()
    {
        Assert.Equal((32000, 4096, 11008, 32, 32, 2048, (int?)null), Sizes(Read("""{"model_type":"llama"}""")));
        Assert.Equal((151936, 4096, 22016, 32, 32, 32768, (int?)null), Sizes(Read("""{"model_type":"qwen2"}""")));
        Assert.Equal((32000, 4096, 14336, 32, 8, 131072, (int?)4096), Sizes(Read("""{"model_type":"mistral"}""")));
        Assert.Null(Read("""{"model_type":"mistral","sliding_window":null}""").SlidingWindow);
        Assert.Equal(32, Read("""{"model_type":"mistral","num_key_value_heads":null}""").KeyHeads);
        Assert.Equal([2], Read("""{"model_type":"llama"}""").EndOfText);
        Assert.Empty(Read("""{"model_type":"llama","eos_token_id":null}""").EndOfText);

        static (int, int, int, int, int, int, int?) Sizes(LlamaConfig c) => (c.VocabularySize, c.Width, c.Inner, c.Heads, c.KeyHeads, c.MaxLength, c.SlidingWindow);
    }

    /// <summary>A window of W tokens is W - 1 before the token itself, in the layers that have it.</summary>
    [Fact]
    public void WindowsCountTheTokenItself()
    {
        LlamaConfig config = Read("""{"model_type":"qwen2","use_sliding_window":true,"sliding_window":5,"max_window_layers":2,"num_hidden_layers":3}""");
        Assert.Equal([null, null, 4], Enumerable.Range(0, 3).Select(config.PreviousOf));
        config = Read("""{"model_type":"qwen2","use_sliding_window":true,"sliding_window":5,"layer_types":["sliding_attention","full_attention"],"num_hidden_layers":2}""");
        Assert.Equal([4, null], Enumerable.Range(0, 2).Select(config.PreviousOf));
        // The window is there and not used, or no layer has it.
        Assert.Null(Read("""{"model_type":"qwen2","use_sliding_window":false,"sliding_window":5}""").SlidingWindow);
        Assert.Null(Read("""{"model_type":"qwen2","use_sliding_window":true,"sliding_window":5,"max_window_layers":7,"num_hidden_layers":3}""").SlidingWindow);
        Assert.Equal(2, Read("""{"model_type":"mistral","sliding_window":3}""").PreviousOf(0));
    }

    [Fact]
    public void BothFormsOfRotaryPositionsMeanTheSame()
    {
        RotaryConfig old = Read("""{"model_type":"llama","rope_theta":500000.0,"rope_scaling":{"type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":64}}""").Rotary;
        Assert.Equal(old, Read("""{"model_type":"llama","rope_parameters":{"rope_type":"llama3","rope_theta":500000.0,"factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":64}}""").Rotary);
        Assert.Equal(old, Read("""{"model_type":"llama","rope_theta":500000.0,"original_max_position_embeddings":64,"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0}}""").Rotary);
        Assert.Equal(new RotaryConfig(), Read("""{"model_type":"llama","rope_scaling":null}""").Rotary);
        Assert.Equal(2048, Read("""{"model_type":"llama","rope_scaling":{"type":"yarn","factor":8.0}}""").Rotary.OriginalMaxLength);
    }

    /// <summary>As far as the model's positions go, which is all that it takes, dynamic scaling changes nothing.</summary>
    [Fact]
    public void DynamicScalingIsNoneUpToTheLongestSequence()
        => Assert.Equal(new RotaryConfig().Frequencies(8).Values, new RotaryConfig { Scaling = RotaryScaling.Dynamic, Factor = 4 }.Frequencies(8).Values);

    [Fact]
    public void EveryChoiceSurvives()
    {
        LlamaConfig small = new() { VocabularySize = 7, MaxLength = 8, Width = 12, Inner = 5, Heads = 3, Layers = 2 };
        foreach (LlamaConfig config in (LlamaConfig[])[small,
            small with { AttentionBias = true, MlpBias = true, TieWordEmbeddings = true, KeyValueHeads = 1, HeadDim = 6, NormEpsilon = 0.5, AttentionDropout = 0.25, BeginOfText = 3, EndOfText = [1, 2], Padding = 4 },
            small with { Family = LlamaFamily.Qwen2, SlidingWindow = 3, SlidingLayers = [true, false], Rotary = new() { Theta = 3, Scaling = RotaryScaling.Linear, Factor = 2.5 } },
            small with { Family = LlamaFamily.Qwen2, Rotary = new() { Scaling = RotaryScaling.Dynamic, Factor = 2 } },
            small with { Family = LlamaFamily.Mistral, SlidingWindow = 1, Rotary = new() { Scaling = RotaryScaling.Llama3, Factor = 4, OriginalMaxLength = 5, LowFrequencyFactor = 2, HighFrequencyFactor = 3 } },
            small with { Family = LlamaFamily.Mistral, Rotary = new() { Scaling = RotaryScaling.Yarn, Factor = 4, OriginalMaxLength = 5, AttentionFactor = 1.5, BetaFast = 9, BetaSlow = 2, MScale = 0.7, MScaleAllDim = 0.3, Truncate = false } }])
        {
            using var model = new LlamaModel(config, seed: 4);
            model.SavePretrained(_folder["m"]);
            using LlamaModel read = Assert.IsType<LlamaModel>(CausalLanguageModel.FromPretrained(_folder["m"]));
            // Values that a file has to name are given where they were derived.
            LlamaConfig resolved = config with { KeyValueHeads = config.KeyHeads, HeadDim = config.HeadSize };
            Assert.Equal(resolved with { EndOfText = [], SlidingLayers = null }, read.Config with { EndOfText = [], SlidingLayers = null });
            Assert.Equal(config.EndOfText, read.EndOfText);
            Assert.Equal(config.SlidingLayers, read.Config.SlidingLayers);
            foreach ((string name, Tensor value) in model.StateDict()) Numeric.AssertSameBits(value, read.StateDict()[name]);
        }
    }

    /// <summary>Python takes 3 for an int, which transformers refuses where it wants a float.</summary>
    [Fact]
    public void WholeNumbersThatAreNoIntegersHaveAPoint()
    {
        using var model = new LlamaModel(new LlamaConfig { VocabularySize = 7, MaxLength = 8, Width = 12, Inner = 5, Heads = 3, Layers = 1, InitializerRange = 1, NormEpsilon = 1e-6, Rotary = new() { Theta = 1e20 } });
        model.SaveConfig(_folder.Path);
        string json = File.ReadAllText(_folder["config.json"]);
        Assert.All((string[])["\"initializer_range\": 1.0,", "\"rms_norm_eps\": 1E-06,", "\"rope_theta\": 1E+20,", "\"attention_dropout\": 0.0,", "\"vocab_size\": 7,"], part => Assert.Contains(part, json, StringComparison.Ordinal));
        Assert.Equal(1e20, LlamaConfig.Read(ModelConfigFile.Open(_folder.Path)).Rotary.Theta);
    }

    [Fact]
    public void ConfigurationsThatFitNothingAreNamed()
    {
        LlamaConfig small = new() { VocabularySize = 7, MaxLength = 8, Width = 12, Inner = 5, Heads = 3, Layers = 2 };
        Assert.Contains("no choice of Mistral", Assert.Throws<ArgumentException>(() => new LlamaModel(small with { Family = LlamaFamily.Mistral, AttentionBias = true })).Message, StringComparison.Ordinal);
        Assert.Contains("Llama has no window", Assert.Throws<ArgumentException>(() => new LlamaModel(small with { SlidingWindow = 4 })).Message, StringComparison.Ordinal);
        Assert.Contains("hides a token from itself", Assert.Throws<ArgumentException>(() => new LlamaModel(small with { Family = LlamaFamily.Mistral, SlidingWindow = 0 })).Message, StringComparison.Ordinal);
        Assert.Contains("SlidingLayers", Assert.Throws<ArgumentException>(() => new LlamaModel(small with { Family = LlamaFamily.Qwen2, SlidingWindow = 2 })).Message, StringComparison.Ordinal);
        Assert.Contains("KeyValueHeads", Assert.Throws<ArgumentException>(() => new LlamaModel(small with { KeyValueHeads = 2 })).Message, StringComparison.Ordinal);
        Assert.Contains("Theta", Assert.Throws<ArgumentException>(() => new LlamaModel(small with { Rotary = new() { Theta = double.NaN } })).Message, StringComparison.Ordinal);
    }
}
