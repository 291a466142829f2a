using Varlen.Autograd;
using Varlen.Data;
using Varlen.Generation;
using Varlen.Models;
using Varlen.Optim;
using Xunit;

namespace Varlen.Tests.Models;

/// <summary>What GoldenModelTests cannot see: how the model is built and how it trains.</summary>
public sealed class LlamaModelTests
{
    private static readonly LlamaConfig Small = new() { VocabularySize = 17, MaxLength = 16, Width = 12, Inner = 10, Layers = 2, Heads = 4, KeyValueHeads = 2, HeadDim = 6, InitializerRange = 0.3, EndOfText = [16] };

    private static PackedBatch Batch(params int[][] documents) => PackedBatch.Create([.. documents.SelectMany(ids => TokenSequence.Cut(ids, 16))]);

    [Fact]
    public void NamesInFilesAreHuggingFaces()
    {
        using var model = new LlamaModel(Small with { Layers = 1, AttentionBias = true });
        Assert.Equal(new Dictionary<string, string>
        {
            ["model.embed_tokens.weight"] = "[17, 12]", ["model.norm.weight"] = "[12]", ["lm_head.weight"] = "[17, 12]",
            ["model.layers.0.input_layernorm.weight"] = "[12]", ["model.layers.0.post_attention_layernorm.weight"] = "[12]",
            ["model.layers.0.self_attn.q_proj.weight"] = "[24, 12]", ["model.layers.0.self_attn.k_proj.weight"] = "[12, 12]", ["model.layers.0.self_attn.v_proj.weight"] = "[12, 12]", ["model.layers.0.self_attn.o_proj.weight"] = "[12, 24]",
            ["model.layers.0.self_attn.q_proj.bias"] = "[24]", ["model.layers.0.self_attn.k_proj.bias"] = "[12]", ["model.layers.0.self_attn.v_proj.bias"] = "[12]", ["model.layers.0.self_attn.o_proj.bias"] = "[12]",
            ["model.layers.0.mlp.gate_proj.weight"] = "[10, 12]", ["model.layers.0.mlp.up_proj.weight"] = "[10, 12]", ["model.layers.0.mlp.down_proj.weight"] = "[12, 10]",
        }, model.PretrainedTensors().ToDictionary(tensor => tensor.Name, tensor => tensor.Shape.ToString()));
        // One product for what reads the same input.
        Assert.Contains("model.layers.0.self_attn.qkv_proj.weight", model.StateDict().Keys);
        Assert.Contains("model.layers.0.mlp.gate_up_proj.weight", model.StateDict().Keys);
    }

    /// <summary>One gradient buffer for q, k and v before and one after they were turned, none copied, added or filled.</summary>
    [Fact]
    public void ABlockNeedsNoGradientCopiesAddsOrFills()
    {
        using var model = new LlamaModel(Small, seed: 1);
        using PackedBatch batch = Batch([1, 2, 3, 4, 5], [6, 7, 8], [9, 10]);
        using TensorScope scope = TensorScope.Begin();
        Tensor loss = model.LossSum(batch);
        GradientStatistics.Buffers = GradientStatistics.Copies = GradientStatistics.StandaloneAdds = GradientStatistics.ZeroFills = 0;
        loss.Backward();
        Assert.Equal((0, 0, 0), (GradientStatistics.Copies, GradientStatistics.StandaloneAdds, GradientStatistics.ZeroFills));
        // Each block: the fused projection, what was turned, the attended values, two norms' results, gate and input, their product; the
        // residual stream's one buffer travels through all blocks. Then the loss.
        long activations = GradientStatistics.Buffers - model.Parameters().Count;
        Assert.True(activations <= 7 * Small.Layers + 3, $"{activations} gradient buffers of activations");
    }

    [Fact]
    public void LogitsOfADocumentAreTheSameBitsInAnyBatch()
    {
        using var model = new LlamaModel(Small with { Family = LlamaFamily.Mistral, SlidingWindow = 3 }, seed: 4);
        using TensorScope scope = TensorScope.Begin();
        using var region = GradMode.NoGrad();
        using PackedBatch alone = Batch([3, 4, 5, 6, 7, 8]), among = Batch([9, 9, 1], [3, 4, 5, 6, 7, 8], [2, 2, 2, 2, 2]);
        Numeric.AssertSameBits(model.Forward(alone), model.Forward(among).Narrow(0, 2, 5));
    }

    [Fact]
    public void AStepReleasesEverything()
    {
        using var model = new LlamaModel(Small with { MlpBias = true }, seed: 6);
        using PackedBatch batch = Batch([1, 2, 3]);
        Memory.AssertReleasesAll(() =>
        {
            using TensorScope scope = TensorScope.Begin();
            model.LossSum(batch).Backward();
        });
    }

    [Fact]
    public void InitialWeightsAreNormalAndThePaddingRowIsZero()
    {
        using var model = new LlamaModel(Small with { Width = 96, HeadDim = null, InitializerRange = 0.02, Padding = 3, AttentionBias = true }, seed: 9);
        foreach (PretrainedTensor tensor in model.PretrainedTensors())
        {
            using TensorScope scope = TensorScope.Begin();
            double[] values = tensor.Parameter.Rows(tensor.First, tensor.Rows).ToArray<double>();
            if (tensor.Shape.Rank == 1) Assert.All(values, x => Assert.Equal(tensor.Name.EndsWith("bias", StringComparison.Ordinal) ? 0 : 1, x));
            else Assert.InRange(Math.Sqrt(values.Average(x => x * x)), 0.018, 0.022);
            if (tensor.Name == "model.embed_tokens.weight") Assert.All(values[(3 * 96)..(4 * 96)], x => Assert.Equal(0, x));
        }
    }

    /// <summary>The whole chain: dropout, steps, decoding with a cache.</summary>
    [Theory]
    [InlineData("cpu", DType.Float32)]
    [InlineData("cpu", DType.BFloat16)]
    [InlineData("cuda", DType.BFloat16)]
    public void LearnsSequencesAndSaysThem(string device, DType dtype)
    {
        LlamaConfig config = Small with { Family = LlamaFamily.Qwen2, Layers = 1, TieWordEmbeddings = true, SlidingWindow = 4, SlidingLayers = [true], Width = 24, InitializerRange = 0.1, AttentionDropout = 0.1 };
        using LlamaModel model = new LlamaModel(config, seed: 1).To(TestDevices.Get(device), dtype);
        using var optimizer = new AdamW(model.NamedParameters(), learningRate: 1e-2);
        using var state = new StepState(model.Device, seed: 2);
        model.StepState = state;
        using PackedBatch batch = PackedBatch.Create([new((int[])[1, 5, 2, 9, 3, 11], (int[])[5, 2, 9, 3, 11, 16]), new((int[])[4, 5, 8, 9], (int[])[5, 8, 9, 16])], model.Device);
        for (int step = 1; step <= (TestDevices.IsSlow && device == "cuda" ? 40 : 100); step++)
        {
            using TensorScope scope = TensorScope.Begin();
            state.Begin(step, 1e-2, 1.0 / batch.TargetCount);
            Tensor loss = model.LossSum(batch);
            optimizer.ZeroGrad();
            loss.Backward(state.LossGradient);
            optimizer.Step(state);
        }
        var generator = new TextGenerator(model, 16);
        Assert.Equal([5, 2, 9, 3, 11], generator.Generate([1], 9, temperature: 0));
        Assert.Equal([5, 8, 9], generator.Generate([4], 9, temperature: 0));
    }

    [Fact]
    public void BareNamesAndOldBuffersAreRead()
    {
        using var folder = new TemporaryFolder();
        using var model = new LlamaModel(Small with { TieWordEmbeddings = true }, seed: 3);
        model.SavePretrained(folder.Path);
        using TensorScope scope = TensorScope.Begin();
        Dictionary<string, Tensor> bare = Safetensors.Load(folder["model.safetensors"]).ToDictionary(entry => entry.Key["model.".Length..], entry => entry.Value);
        bare["layers.0.self_attn.rotary_emb.inv_freq"] = Tensor.Ones([3]);
        bare["lm_head.weight"] = bare["embed_tokens.weight"];
        Safetensors.Save(folder["model.safetensors"], bare);
        using LlamaModel read = LlamaModel.FromPretrained(folder.Path);
        foreach ((string name, Tensor value) in model.StateDict()) Numeric.AssertSameBits(value, read.StateDict()[name]);
        bare.Remove("layers.1.self_attn.k_proj.weight");
        bare["layers.1.mlp.up_proj.weight"] = Tensor.Zeros([9, 12]);
        bare["layers.0.self_attn.qkv_proj.weight"] = Tensor.Zeros([48, 12]);
        Safetensors.Save(folder["model.safetensors"], bare);
        string message = Assert.Throws<CheckpointFormatException>(() => LlamaModel.FromPretrained(folder.Path)).Message;
        Assert.All((string[])["3 tensors do not fit", "'model.layers.1.self_attn.k_proj.weight' [12, 12] is missing", "'layers.1.mlp.up_proj.weight' F32 [9, 12] should be [10, 12]", "'layers.0.self_attn.qkv_proj.weight' F32 [48, 12] is no tensor"],
            part => Assert.Contains(part, message, StringComparison.Ordinal));
    }
}
