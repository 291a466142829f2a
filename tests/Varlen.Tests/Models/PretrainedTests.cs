using Varlen.Models;
using Xunit;

namespace Varlen.Tests.Models;

/// <summary>What a model's folder may hold, and what it may not.</summary>
public sealed class PretrainedTests : IDisposable
{
    private const string Config = """{"model_type":"gpt2","vocab_size":5,"n_positions":4,"n_embd":4,"n_layer":1,"n_head":2}""";
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private string Refusal(string config)
    {
        File.WriteAllText(_folder["config.json"], config);
        return Assert.Throws<CheckpointFormatException>(() => CausalLanguageModel.FromPretrained(_folder.Path)).Message;
    }

    [Fact]
    public void EveryChoiceOfADecoderSurvives()
    {
        DecoderConfig small = new() { VocabularySize = 11, MaxLength = 8, Width = 12, Heads = 3, Layers = 2 };
        foreach (DecoderConfig config in (DecoderConfig[])[small,
            small with { NormBias = true, FinalNorm = true, TiedHead = true, Activation = Activation.GeluTanh, Dropout = 0.125, Causal = false },
            small with { HeadBias = false, Activation = Activation.Relu }, small with { TiedHead = true, HeadBias = false }])
        {
            using var model = new Decoder(config, seed: 4);
            model.SavePretrained(_folder["d"]);
            using Decoder read = Assert.IsType<Decoder>(CausalLanguageModel.FromPretrained(_folder["d"]));
            Assert.Equal(config, read.Config);
            Assert.Equal(model.StateDict().Keys, read.StateDict().Keys);
            foreach ((string name, Tensor value) in model.StateDict()) Numeric.AssertSameBits(value, read.StateDict()[name]);
        }
    }

    [Theory]
    [InlineData("""{"model_type":"gpt2","n_layer":"12"}""", "n_layer is '12'", "byte 21")]
    [InlineData("""{"model_type":"gpt2","n_layer":1.5}""", "n_layer is 1.5", "not a whole number")]
    [InlineData("""{"model_type":"gpt2","n_layer":0}""", "n_layer is 0", "from 1 to")]
    [InlineData("""{"model_type":"gpt2","n_head":-3}""", "n_head is -3", "from 1 to")]
    [InlineData("""{"model_type":"gpt2","vocab_size":99999999999999999999}""", "vocab_size is 99999999999999999999", "not a whole number")]
    [InlineData("""{"model_type":"gpt2","n_embd":768,"n_head":7}""", "do not fit together", "768 is not a multiple of 7 heads")]
    [InlineData("""{"model_type":"gpt2","n_embd":768,"n_head":2}""", "do not fit together", "heads of 384")]
    [InlineData("""{"model_type":"gpt2","n_layer":12,"n_layer":13}""", "'n_layer' stands there twice", "byte 34")]
    [InlineData("""{"model_type":"gpt2","x":{"a":1,"a":2}}""", "'a' stands there twice", "byte 32")]
    [InlineData("""{"model_type":"gpt2","n_embd":8,"hidden_size":16}""", "n_embd is 8", "hidden_size is 16")]
    [InlineData("""{"model_type":"gpt2","activation_function":"silu"}""", "activation_function is 'silu'", "gelu_new")]
    [InlineData("""{"model_type":"gpt2","resid_pdrop":1}""", "resid_pdrop is 1", "from 0 to")]
    [InlineData("""{"model_type":"gpt2","layer_norm_epsilon":-1e-5}""", "layer_norm_epsilon is -1e-5", "from 0 to")]
    [InlineData("""{"model_type":"gpt2","layer_norm_epsilon":1e999}""", "layer_norm_epsilon is 1e999", "from 0 to")]
    [InlineData("""{"model_type":"gpt2","tie_word_embeddings":1}""", "tie_word_embeddings is 1", "true or false")]
    [InlineData("""{"model_type":"gpt2","add_cross_attention":true}""", "add_cross_attention", "encoder")]
    [InlineData("""{"model_type":"gpt2","pruned_heads":{"0":[1]}}""", "pruned_heads", "all heads")]
    [InlineData("""{"model_type":"gpt2","quantization_config":{"bits":4}}""", "quantization_config", "not quantised")]
    [InlineData("""{"model_type":"gpt2","eos_token_id":[1,2]}""", "eos_token_id", "one id ends a text")]
    [InlineData("""{"model_type":"gpt2","eos_token_id":["1"]}""", "eos_token_id", "neither a whole number")]
    [InlineData("""{"model_type":"gpt2","is_causal":false}""", "is_causal is false", "nothing after itself")]
    [InlineData("""{"model_type":"gemma"}""", "model_type is 'gemma'", "gpt2, llama, qwen2, mistral and varlen-decoder")]
    [InlineData("""{"n_layer":3}""", "model_type is missing", "byte 0")]
    [InlineData("""{"model_type":["gpt2"]}""", "model_type", "not a string")]
    [InlineData("[]", "no object", "byte 0")]
    [InlineData("3", "no object", "byte 0")]
    [InlineData("", "no valid JSON", "byte 0")]
    [InlineData("""{"model_type":"gpt2",}""", "no valid JSON", "byte")]
    [InlineData("""{"model_type":"gpt2"} {}""", "no valid JSON", "byte")]
    [InlineData("""{"model_type":"gpt2","\ud800":1}""", "no valid JSON", "byte 21")]
    [InlineData("""{"model_type":"\ud800"}""", "no valid JSON", "byte 14")]
    [InlineData("""{"model_type":"gpt2","a":[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}""", "no valid JSON", "depth")]
    [InlineData("""{"model_type":"varlen-decoder","vocabulary_size":5,"max_length":4,"width":4,"heads":2,"layers":1,"droput":0.1}""", "'droput'", "no such setting")]
    [InlineData("""{"model_type":"varlen-decoder","vocabulary_size":5,"max_length":4,"width":4,"layers":1}""", "heads is missing", "byte 0")]
    public void BadConfigurationsAreRefusedByName(string config, string what, string detail)
    {
        string message = Refusal(config);
        Assert.Contains(what, message, StringComparison.Ordinal);
        Assert.Contains(detail, message, StringComparison.OrdinalIgnoreCase);
        Assert.Contains(_folder["config.json"], message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    /// <summary>Whatever the bytes are: a configuration, or a refusal of the right kind.</summary>
    [Fact]
    public void MutatedConfigurationsAreReadOrRefused()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        byte[] valid = System.Text.Encoding.UTF8.GetBytes("""{"model_type":"gpt2","vocab_size":50257,"n_embd":768,"n_head":12,"n_inner":null,"activation_function":"gelu_new","attn_pdrop":0.1,"pruned_heads":{},"tie_word_embeddings":true,"x":["\ud83d\ude00",{"y":[]}]}""");
        const string pieces = "{}[]\",:0-9.eE+tnu\\d8";
        int read = 0;
        for (int n = 0; n < 3000; n++)
        {
            List<byte> bytes = [.. valid];
            for (int changes = random.Next(1, 4); changes > 0; changes--)
            {
                int at = random.Next(bytes.Count);
                switch (random.Next(4))
                {
                    case 0: bytes.RemoveAt(at); break;
                    case 1: bytes.Insert(at, (byte)pieces[random.Next(pieces.Length)]); break;
                    case 2: bytes[at] = (byte)random.Next(256); break;
                    default: bytes.InsertRange(at, bytes[at..Math.Min(bytes.Count, at + random.Next(1, 40))]); break;
                }
            }
            File.WriteAllBytes(_folder["config.json"], [.. bytes]);
            try
            {
                Gpt2Config.Read(ModelConfigFile.Open(_folder.Path)).Validate();
                read++;
            }
            catch (CheckpointFormatException)
            {
            }
            catch (Exception other)
            {
                Assert.Fail($"seed {seed}: {other.GetType().Name} for {System.Text.Encoding.Latin1.GetString([.. bytes])}");
            }
        }
        Assert.InRange(read, 1, 2000);
    }

    [Fact]
    public void AHugeConfigurationIsNotRead()
    {
        Assert.Contains("too large", Refusal($$"""{"model_type":"gpt2","a":"{{new string('x', 2_000_000)}}"}"""), StringComparison.Ordinal);
        // Deep beyond any stack: a bound, not a crash.
        Assert.Contains("depth", Refusal("{\"a\":" + new string('[', 500_000)), StringComparison.OrdinalIgnoreCase);
    }

    /// <summary>A configuration may not make the process allocate what the weights cannot fill.</summary>
    [Fact]
    public void AModelFarLargerThanItsFileIsNotMade()
    {
        Safetensors.Save(_folder["model.safetensors"], []);
        long before = MemoryDiagnostics.LiveBytes;
        Assert.Contains("values", Refusal("""{"model_type":"gpt2","vocab_size":1000000000,"n_embd":65536,"n_head":1024,"n_layer":32000}"""), StringComparison.Ordinal);
        Assert.Equal(before, MemoryDiagnostics.LiveBytes);
    }

    [Fact]
    public void AllTensorsThatDoNotFitAreListedAtOnce()
    {
        File.WriteAllText(_folder["config.json"], Config);
        using var model = new Gpt2Model(new Gpt2Config { VocabularySize = 5, MaxLength = 4, Width = 4, Layers = 1, Heads = 2 });
        using TensorScope scope = TensorScope.Begin();
        Dictionary<string, Tensor> state = model.StateDict().ToDictionary();
        state.Remove("transformer.ln_f.bias");
        state.Remove("transformer.h.0.mlp.c_fc.weight");
        state["transformer.wpe.weight"] = Tensor.Zeros([5, 4]);
        state["transformer.h.1.ln_1.weight"] = Tensor.Zeros([4]);
        state["extra\nline"] = Tensor.Zeros([]);
        state["ln_f.weight"] = Tensor.Zeros([4]);
        state["transformer.h.0.ln_1.bias"] = Tensor.Zeros([4], DType.Int32);
        Safetensors.Save(_folder["model.safetensors"], state);
        string message = Assert.Throws<CheckpointFormatException>(() => Gpt2Model.FromPretrained(_folder.Path)).Message;
        Assert.All((string[])["7 tensors do not fit", "'transformer.ln_f.bias' [4] is missing", "'transformer.h.0.mlp.c_fc.weight' [4, 16] is missing", "'transformer.wpe.weight' F32 [5, 4] should be [4, 4]",
            "'transformer.h.1.ln_1.weight' F32 [4] is no tensor of the model", @"'extra\nline' F32 [] is no tensor", "is there twice", "'transformer.h.0.ln_1.bias' I32 [4] holds no floating-point"],
            part => Assert.Contains(part, message, StringComparison.Ordinal));
        Assert.DoesNotContain('\n', message);
    }

    [Theory]
    [InlineData("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "LFS")]
    [InlineData("<!DOCTYPE html><html></html>", "HTML")]
    [InlineData("PK\u0003\u0004 and so on, as a zip archive", "zip")]
    [InlineData("GGUF\u0003\0\0\0 and so on", "GGUF")]
    [InlineData("", "empty")]
    public void OtherContainersAreNamedForWhatTheyAre(string content, string what)
    {
        File.WriteAllText(_folder["config.json"], Config);
        File.WriteAllBytes(_folder["model.safetensors"], System.Text.Encoding.Latin1.GetBytes(content));
        Assert.Contains(what, Assert.Throws<CheckpointFormatException>(() => CausalLanguageModel.FromPretrained(_folder.Path)).Message, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public void GzipAndPickleAreNamed()
    {
        File.WriteAllText(_folder["config.json"], Config);
        File.WriteAllBytes(_folder["model.safetensors"], [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0]);
        Assert.Contains("gzip", Assert.Throws<CheckpointFormatException>(() => CausalLanguageModel.FromPretrained(_folder.Path)).Message, StringComparison.OrdinalIgnoreCase);
        File.WriteAllBytes(_folder["model.safetensors"], [0x80, 2, 0x7D, 0x71, 0, 0x2E, 0, 0, 0, 0]);
        Assert.Contains("pickle", Assert.Throws<CheckpointFormatException>(() => CausalLanguageModel.FromPretrained(_folder.Path)).Message, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public void MissingFilesSayWhatIsThereInstead()
    {
        Assert.Contains("config.json is missing", Assert.Throws<FileNotFoundException>(() => CausalLanguageModel.FromPretrained(_folder.Path)).Message, StringComparison.Ordinal);
        File.WriteAllText(_folder["config.json"], Config);
        File.WriteAllText(_folder["pytorch_model.bin"], "");
        Assert.Contains("pickle", Assert.Throws<FileNotFoundException>(() => CausalLanguageModel.FromPretrained(_folder.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AFolderThatCannotBeWrittenIsNamed()
    {
        using var model = new Decoder(new DecoderConfig { VocabularySize = 3, MaxLength = 2, Width = 2, Heads = 1, Layers = 0 });
        File.WriteAllText(_folder["file"], "");
        Assert.Contains(_folder["file"], Assert.Throws<IOException>(() => model.SavePretrained(_folder["file"])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void BadConfigurationsOfModelsAreNamed()
    {
        Assert.Contains("width 10", Assert.Throws<ArgumentException>(() => new Decoder(new DecoderConfig { Width = 10, Heads = 3 })).Message, StringComparison.Ordinal);
        Assert.Contains("Dropout", Assert.Throws<ArgumentException>(() => new Decoder(new DecoderConfig { Dropout = 1 })).Message, StringComparison.Ordinal);
        Assert.Contains("AttentionDropout", Assert.Throws<ArgumentException>(() => new Gpt2Model(Gpt2Config.Tiny with { AttentionDropout = double.NaN })).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => new Gpt2Model(Gpt2Config.Tiny with { VocabularySize = 0 }));
    }
}
