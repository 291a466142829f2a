using System.Text.Json;
using Varlen.Data;
using Varlen.Generation;
using Varlen.Models;
using Varlen.Nn;
using Varlen.Optim;
using Xunit;

namespace Varlen.Tests.Models;

public sealed class Gpt2ModelTests
{
    private static readonly Gpt2Config Small = new()
    {
        VocabularySize = 17, MaxLength = 10, Width = 12, Layers = 3, Heads = 3, InitializerRange = 0.4, BeginOfText = 16, EndOfText = 16,
        EmbeddingDropout = 0, ResidualDropout = 0, AttentionDropout = 0,
    };

    public static TheoryData<string, Gpt2Config> Variants() => new()
    {
        { "default", Small },
        { "inner", Small with { Inner = 7 } },
        { "exact gelu", Small with { Activation = Activation.Gelu } },
        { "relu", Small with { Activation = Activation.Relu } },
        { "unscaled", Small with { ScaleAttention = false } },
        { "by layer", Small with { ScaleByInverseLayer = true } },
        { "by layer, unscaled", Small with { ScaleByInverseLayer = true, ScaleAttention = false, ReorderAndUpcast = true } },
        { "untied", Small with { TieWordEmbeddings = false } },
        { "epsilon", Small with { NormEpsilon = 0.1 } },
    };

    private static Gpt2Model Make(Gpt2Config config, DType dtype)
    {
        Gpt2Model model = new Gpt2Model(config, 3).To(Device.Cpu, dtype);
        // Gains of one and shifts of zero would hide a mix-up of both.
        ulong seed = 1000;
        using TensorScope scope = TensorScope.Begin();
        foreach (Parameter parameter in model.Parameters().Where(parameter => parameter.Shape.Rank == 1)) parameter.Load(Tensor.Randn(parameter.Shape, seed++));
        return model;
    }

    private static Dictionary<string, double[]> Weights(Gpt2Model model)
        => model.StateDict().ToDictionary(entry => entry.Key.Replace("transformer.", "", StringComparison.Ordinal), entry => entry.Value.ToArray<double>());

    [Theory]
    [MemberData(nameof(Variants))]
    public void LogitsAndLossAreThoseOfThePlainComputation(string variant, Gpt2Config config)
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        int[][] documents = [.. new[] { 7, 1, 10, 3 }.Select(length => Enumerable.Range(0, length + 1).Select(_ => random.Next(config.VocabularySize)).ToArray())];
        using Gpt2Model model = Make(config, DType.Float64);
        using PackedBatch batch = PackedBatch.Create([.. documents.Select(ids => new TokenSequence(ids.AsMemory(..^1), ids.AsMemory(1)))]);
        var reference = new Gpt2Reference(config, Weights(model));
        using TensorScope scope = TensorScope.Begin();
        double[] expected = [.. documents.SelectMany(ids => reference.Logits(ids.AsSpan(..^1)).SelectMany(row => row))], actual = model.Forward(batch).ToArray<double>();
        double scale = Math.Max(1, expected.Max(Math.Abs));
        for (int i = 0; i < expected.Length; i++) Assert.True(Math.Abs(expected[i] - actual[i]) <= 1e-10 * scale, $"{variant}, seed {seed}, logit {i}: expected {expected[i]:R}, got {actual[i]:R}");
        double loss = documents.Sum(ids => reference.LossSum(ids.AsSpan(..^1), ids.AsSpan(1)));
        Assert.True(Math.Abs(loss - model.LossSum(batch).Item()) <= 1e-10 * Math.Max(1, loss), $"{variant}, seed {seed}");
        using Gpt2Model single = Make(config, DType.Float32);
        Numeric.AssertClose(Tensor.From(expected, [batch.Rows, config.VocabularySize]), single.Forward(batch), 3e-5 * scale);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void GradientsAreThoseOfThePlainComputation(bool tied)
    {
        Gpt2Config config = Small with { TieWordEmbeddings = tied, ScaleByInverseLayer = true };
        int[] ids = [1, 5, 16, 2, 2, 9], targets = [5, 16, 2, 2, 9, 0];
        using Gpt2Model model = Make(config, DType.Float64);
        using PackedBatch batch = PackedBatch.Create([new TokenSequence(ids, targets)]);
        using (TensorScope.Begin()) model.LossSum(batch).Backward();
        Dictionary<string, double[]> weights = Weights(model);
        var reference = new Gpt2Reference(config, weights);
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        foreach ((string name, Parameter parameter) in model.NamedParameters())
        {
            double[] values = weights[name.Replace("transformer.", "", StringComparison.Ordinal)], gradient = parameter.Grad!.ToArray<double>();
            for (int n = 0; n < 4; n++)
            {
                int i = random.Next(values.Length);
                double value = values[i];
                values[i] = value + 1e-5;
                double above = reference.LossSum(ids, targets);
                values[i] = value - 1e-5;
                double difference = (above - reference.LossSum(ids, targets)) / 2e-5;
                values[i] = value;
                Assert.True(Math.Abs(difference - gradient[i]) <= 1e-6 * Math.Max(1, Math.Abs(difference)), $"seed {seed}, {name}[{i}]: {difference:R} and {gradient[i]:R}");
            }
        }
    }

    [Fact]
    public void NamesAndShapesAreHuggingFaces()
    {
        using var model = new Gpt2Model(Small with { Layers = 1, Inner = 5 });
        Dictionary<string, string> shapes = model.StateDict().ToDictionary(entry => entry.Key, entry => entry.Value.Shape.ToString());
        Assert.Equal(new Dictionary<string, string>
        {
            ["transformer.wte.weight"] = "[17, 12]", ["transformer.wpe.weight"] = "[10, 12]",
            ["transformer.h.0.ln_1.weight"] = "[12]", ["transformer.h.0.ln_1.bias"] = "[12]", ["transformer.h.0.ln_2.weight"] = "[12]", ["transformer.h.0.ln_2.bias"] = "[12]",
            ["transformer.h.0.attn.c_attn.weight"] = "[12, 36]", ["transformer.h.0.attn.c_attn.bias"] = "[36]",
            ["transformer.h.0.attn.c_proj.weight"] = "[12, 12]", ["transformer.h.0.attn.c_proj.bias"] = "[12]",
            ["transformer.h.0.mlp.c_fc.weight"] = "[12, 5]", ["transformer.h.0.mlp.c_fc.bias"] = "[5]",
            ["transformer.h.0.mlp.c_proj.weight"] = "[5, 12]", ["transformer.h.0.mlp.c_proj.bias"] = "[12]",
            ["transformer.ln_f.weight"] = "[12]", ["transformer.ln_f.bias"] = "[12]",
        }, shapes);
    }

    [Fact]
    public void InitialWeightsHaveGpt2sDeviations()
    {
        using var model = new Gpt2Model(Gpt2Config.Tiny with { Layers = 2, TieWordEmbeddings = false }, seed: 9);
        foreach ((string name, Tensor value) in model.StateDict())
        {
            double[] values = value.ToArray<double>();
            double deviation = name.Contains("ln_", StringComparison.Ordinal) || name.EndsWith("bias", StringComparison.Ordinal) ? 0
                : name.EndsWith("c_proj.weight", StringComparison.Ordinal) ? 0.02 / 2 : 0.02;
            if (deviation == 0) Assert.All(values, x => Assert.Equal(name.EndsWith("bias", StringComparison.Ordinal) ? 0 : 1, x));
            else Assert.InRange(Math.Sqrt(values.Average(x => x * x)), 0.97 * deviation, 1.03 * deviation);
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void SavesWhatTransformersOpensAndReadsItBack(bool tied)
    {
        using var folder = new TemporaryFolder();
        Gpt2Config config = Small with { TieWordEmbeddings = tied, Inner = 9, ScaleByInverseLayer = true, Activation = Activation.Relu, AttentionDropout = 0.25, NormEpsilon = 1e-6, ReorderAndUpcast = true };
        using Gpt2Model model = Make(config, DType.Float32);
        model.SavePretrained(folder["model"]);
        using (SafetensorsFile file = SafetensorsFile.Open(folder["model/model.safetensors"]))
        {
            Assert.Equal("pt", file.Metadata["format"]);
            Assert.Equal(!tied, file.TryGetEntry("lm_head.weight", out _));
            Assert.True(file.TryGetEntry("transformer.wte.weight", out _));
        }
        using (JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(folder["model/config.json"])))
        {
            Assert.Equal("gpt2", json.RootElement.GetProperty("model_type").GetString());
            Assert.Equal(9, json.RootElement.GetProperty("n_inner").GetInt32());
            Assert.Equal("relu", json.RootElement.GetProperty("activation_function").GetString());
            Assert.Equal(16, json.RootElement.GetProperty("eos_token_id").GetInt32());
            Assert.Equal(tied, json.RootElement.GetProperty("tie_word_embeddings").GetBoolean());
        }
        Assert.Equal(2, Directory.GetFiles(folder["model"]).Length);
        using CausalLanguageModel read = CausalLanguageModel.FromPretrained(folder["model"]);
        Assert.Equal(config, Assert.IsType<Gpt2Model>(read).Config);
        foreach ((string name, Tensor value) in model.StateDict()) Numeric.AssertSameBits(value, read.StateDict()[name]);
        // Twice the same bytes, and double precision reads the same values.
        byte[] first = File.ReadAllBytes(folder["model/model.safetensors"]);
        read.SavePretrained(folder["model"]);
        Assert.Equal(first, File.ReadAllBytes(folder["model/model.safetensors"]));
        using Gpt2Model wide = Gpt2Model.FromPretrained(folder["model"], dtype: DType.Float64);
        Assert.Equal(model.StateDict()["transformer.wpe.weight"].ToArray<double>(), wide.StateDict()["transformer.wpe.weight"].ToArray<double>());
    }

    /// <summary>The whole chain: dropout, steps, evaluation, decoding with a cache.</summary>
    [Fact]
    public void LearnsSequencesAndSaysThem()
    {
        using var model = new Gpt2Model(Small with { InitializerRange = 0.02, Width = 24, ResidualDropout = 0.1, EmbeddingDropout = 0.1, AttentionDropout = 0.1 }, seed: 1);
        using var optimizer = new AdamW(model.NamedParameters(), learningRate: 1e-2);
        using var state = new StepState(seed: 2);
        model.StepState = state;
        using PackedBatch batch = PackedBatch.Create([new((int[])[1, 5, 2, 9, 3, 11], (int[])[5, 2, 9, 3, 11, 16]), new((int[])[4, 5, 8, 9], (int[])[5, 8, 9, 16])]);
        for (int step = 1; step <= 120; step++)
        {
            using TensorScope scope = TensorScope.Begin();
            state.Begin(step, 1e-2, 1.0 / batch.TargetCount);
            Tensor loss = model.LossSum(batch);
            optimizer.ZeroGrad();
            loss.Backward(state.LossGradient);
            optimizer.Step(state);
        }
        var generator = new TextGenerator(model, Small.EndOfText!.Value);
        Assert.Equal([5, 2, 9, 3, 11], generator.Generate([1], new GenerationOptions { MaxTokens = 9, Temperature = 0 }));
        Assert.Equal([5, 8, 9], generator.Generate([4], new GenerationOptions { MaxTokens = 9, Temperature = 0 }));
    }

    [Fact]
    public void BareNamesBuffersAndATiedHeadAreRead()
    {
        using var folder = new TemporaryFolder();
        using Gpt2Model model = Make(Small, DType.Float32);
        model.SavePretrained(folder.Path);
        using (TensorScope.Begin())
        {
            Dictionary<string, Tensor> bare = model.StateDict().ToDictionary(entry => entry.Key.Replace("transformer.", "", StringComparison.Ordinal), entry => entry.Value);
            bare["h.0.attn.bias"] = Tensor.Ones([1, 1, 10, 10], DType.Bool);
            bare["h.2.attn.masked_bias"] = Tensor.Full([], -1e4);
            bare["lm_head.weight"] = bare["wte.weight"];
            Safetensors.Save(folder["model.safetensors"], bare);
            using Gpt2Model read = Gpt2Model.FromPretrained(folder.Path);
            foreach ((string name, Tensor value) in model.StateDict()) Numeric.AssertSameBits(value, read.StateDict()[name]);
            // 16-bit weights are widened.
            Safetensors.Save(folder["model.safetensors"], bare.ToDictionary(entry => entry.Key, entry => entry.Value.DType == DType.Bool ? entry.Value : entry.Value.To(dtype: DType.BFloat16)));
            using Gpt2Model half = Gpt2Model.FromPretrained(folder.Path, dtype: DType.BFloat16);
            Numeric.AssertSameBits(model.StateDict()["transformer.wpe.weight"].To(dtype: DType.BFloat16).To(dtype: DType.Float32), half.StateDict()["transformer.wpe.weight"]);
            bare["lm_head.weight"] = bare["wte.weight"] + 1;
            Safetensors.Save(folder["model.safetensors"], bare);
            Assert.Contains("differs from", Assert.Throws<CheckpointFormatException>(() => Gpt2Model.FromPretrained(folder.Path)).Message, StringComparison.Ordinal);
        }
    }
}
