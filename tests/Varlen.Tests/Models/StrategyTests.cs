using Varlen.Data;
using Varlen.Models;
using Varlen.Nn;
using Varlen.Optim;
using Xunit;

namespace Varlen.Tests.Models;

/// <summary>One batch under every strategy: the same loss, the same gradients.</summary>
public sealed class StrategyTests
{
    private const int MaxLength = 24, Vocabulary = 13;

    private static readonly (string Name, ICollator Collator)[] Collators =
    [
        ("padded to a maximum", new PadToMaximumCollator(MaxLength)),
        ("padded far", new PadToMaximumCollator(3 * MaxLength)),
        ("padded to the longest", new PadToLongestCollator()),
        ("padded and unpadded around attention", new PadAndUnpadCollator()),
        ("padded far and unpadded around attention", new PadAndUnpadCollator(3 * MaxLength)),
        ("nested", new NestedCollator()),
        ("block-diagonal", new BlockDiagonalCollator()),
        ("document mask", new DocumentMaskCollator()),
        ("flattened", new FlattenCollator()),
    ];

    private static IReadOnlyList<TokenSequence> Draw(int[] lengths, ulong seed)
    {
        var data = new RandomTokenDataset(LengthDistribution.Listed(lengths), Vocabulary, seed);
        return data.Batch(0, lengths.Length);
    }

    private static CausalLanguageModel Make(string model, bool causal, DType dtype, double dropout = 0) => (model == "gpt2"
        ? (CausalLanguageModel)new Gpt2Model(new Gpt2Config
        {
            VocabularySize = Vocabulary, MaxLength = MaxLength, Width = 12, Layers = 2, Heads = 3, InitializerRange = 0.3,
            EmbeddingDropout = dropout, ResidualDropout = dropout, AttentionDropout = dropout,
        }, seed: 5)
        : model is "llama" or "window" ? new LlamaModel(new LlamaConfig
        {
            Family = model == "llama" ? LlamaFamily.Llama : LlamaFamily.Qwen2, VocabularySize = Vocabulary, MaxLength = MaxLength, Width = 12, Inner = 10, Layers = 2, Heads = 4, KeyValueHeads = 2, HeadDim = 6,
            AttentionBias = model == "llama", MlpBias = model == "llama", TieWordEmbeddings = model == "window", Padding = 1, AttentionDropout = dropout, InitializerRange = 0.3,
            SlidingWindow = model == "window" ? 3 : null, SlidingLayers = model == "window" ? [false, true] : null,
        }, seed: 5)
        : new Decoder(new DecoderConfig { VocabularySize = Vocabulary, MaxLength = MaxLength, Width = 12, Layers = 2, Heads = 3, Causal = causal, Dropout = dropout, TiedHead = model == "tied", FinalNorm = model == "tied", NormBias = model == "tied" }, seed: 5))
        .To(Device.Cpu, dtype);

    private static (double Loss, double[][] Gradients) Step(CausalLanguageModel model, TokenBatch batch)
    {
        using (batch)
        using (TensorScope.Begin())
        {
            model.ZeroGrad();
            Tensor loss = model.LossSum(batch);
            loss.Backward();
            return (loss.Item(), [.. model.Parameters().Select(parameter => parameter.Grad!.ToArray<double>())]);
        }
    }

    private static void AssertSame(CausalLanguageModel model, IReadOnlyList<TokenSequence> sequences, IEnumerable<(string Name, ICollator Collator)> collators, double tolerance, string what)
    {
        (double loss, double[][] gradients) = Step(model, PackedBatch.Create(sequences));
        double scale = Math.Max(1, gradients.Max(gradient => gradient.Max(Math.Abs)));
        foreach ((string name, ICollator collator) in collators)
        {
            (double other, double[][] others) = Step(model, collator.Collate(sequences));
            Assert.True(Math.Abs(other - loss) <= tolerance * Math.Max(1, loss), $"{what}, {name}: loss {other:R}, packed {loss:R}");
            for (int i = 0; i < gradients.Length; i++)
                for (int j = 0; j < gradients[i].Length; j++)
                    Assert.True(Math.Abs(others[i][j] - gradients[i][j]) <= tolerance * scale, $"{what}, {name}: gradient {i}[{j}] {others[i][j]:R}, packed {gradients[i][j]:R}");
        }
    }

    public static TheoryData<string, string, bool, DType> Cases()
    {
        var cases = new TheoryData<string, string, bool, DType>();
        foreach (string lengths in (string[])["5,1,17,2,9", "8,8,8", "24,1,1,2,1", "1", "0,3,0,0,7,0", "24"])
        {
            cases.Add(lengths, "decoder", true, DType.Float64);
            cases.Add(lengths, "decoder", false, DType.Float64);
            cases.Add(lengths, "decoder", true, DType.Float32);
        }
        cases.Add("5,1,17,2,9", "gpt2", true, DType.Float64);
        cases.Add("5,1,17,2,9", "gpt2", true, DType.Float32);
        foreach (string llama in (string[])["llama", "window"])
        {
            cases.Add("5,1,17,2,9", llama, true, DType.Float64);
            cases.Add("0,3,0,0,24,0", llama, true, DType.Float32);
        }
        cases.Add("5,1,17,2,9", "tied", false, DType.Float64);
        cases.Add("5,1,17,2,9", "tied", true, DType.Float32);
        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void EveryStrategyGivesTheSameLossAndGradients(string lengths, string model, bool causal, DType dtype)
    {
        ulong seed = (ulong)Numeric.FreshSeed();
        using CausalLanguageModel made = Make(model, causal, dtype);
        AssertSame(made, Draw([.. lengths.Split(',').Select(int.Parse)], seed), Collators, dtype == DType.Float64 ? 1e-10 : 1e-5, $"seed {seed}");
    }

    /// <summary>Dropout follows the token, so batches that tell documents apart drop the same.</summary>
    [Theory]
    [InlineData("gpt2")]
    [InlineData("llama")]
    public void DropoutIsTheSameUnderEveryStrategyThatKnowsDocuments(string name)
    {
        using var state = new StepState(seed: 3);
        state.Begin(4, 0);
        using CausalLanguageModel model = Make(name, true, DType.Float64, dropout: 0.3);
        model.StepState = state;
        IReadOnlyList<TokenSequence> sequences = Draw([5, 1, 17, 2, 9], 8);
        AssertSame(model, sequences, Collators.Where(entry => entry.Name != "document mask"), 1e-10, "dropout");
        double trained = Step(model, PackedBatch.Create(sequences)).Loss;
        model.Eval();
        Assert.NotEqual(trained, Step(model, PackedBatch.Create(sequences)).Loss);
        state.Begin(5, 0);
        model.Train();
        Assert.NotEqual(trained, Step(model, PackedBatch.Create(sequences)).Loss);
    }

    [Fact]
    public void DropoutNeedsSeedAndStep()
    {
        using CausalLanguageModel model = Make("decoder", true, DType.Float32, dropout: 0.1);
        using PackedBatch batch = PackedBatch.Create(Draw([3], 1));
        using TensorScope scope = TensorScope.Begin();
        Assert.Contains("StepState", Assert.Throws<InvalidOperationException>(() => model.LossSum(batch)).Message, StringComparison.Ordinal);
        model.Eval();
        model.LossSum(batch);
    }

    [Fact]
    public void FullAttentionSeesWhatComesAfterAndCausalDoesNot()
    {
        foreach ((bool causal, ICollator collator) in new[] { true, false }.SelectMany(causal => Collators.Select(entry => (causal, entry.Collator))))
        {
            using CausalLanguageModel model = Make("decoder", causal, DType.Float32);
            using TokenBatch one = collator.Collate([new((int[])[1, 2, 3], (int[])[2, 3, 4])]), other = collator.Collate([new((int[])[1, 2, 9], (int[])[2, 3, 4])]);
            using TensorScope scope = TensorScope.Begin();
            float[] first = model.Forward(one).Narrow(0, 0, 1).ToArray<float>(), second = model.Forward(other).Narrow(0, 0, 1).ToArray<float>();
            Assert.Equal(causal, first.SequenceEqual(second));
        }
    }

    [Fact]
    public void BatchesReleaseEverything()
    {
        using CausalLanguageModel model = Make("decoder", true, DType.Float32);
        foreach ((_, ICollator collator) in Collators)
            Memory.AssertReleasesAll(() => Step(model, collator.Collate(Draw([5, 0, 7], 2))));
    }

    [Fact]
    public void LastLogitsAreTheLogitsOfEachSequencesLastRow()
    {
        using CausalLanguageModel model = Make("decoder", true, DType.Float32);
        using PackedBatch packed = PackedBatch.Create(Draw([5, 1, 17], 3));
        using PaddedBatch padded = PaddedBatch.Create(Draw([5, 1, 17], 3));
        using TensorScope scope = TensorScope.Begin();
        Tensor all = model.Forward(packed), last = model.LastLogits(packed);
        Numeric.AssertSameBits(JaggedTensor.FromTensors(all.Narrow(0, 4, 1), all.Narrow(0, 5, 1), all.Narrow(0, 22, 1)).Values, last);
        Numeric.AssertClose(last, model.LastLogits(padded));
        using PackedBatch empty = PackedBatch.Create(Draw([2, 0], 3));
        Assert.Contains("sequence 1", Assert.Throws<ArgumentException>(() => model.LastLogits(empty)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void IdsAndPositionsOutsideOfTheModelAreNamed()
    {
        using CausalLanguageModel model = Make("decoder", true, DType.Float32);
        using TensorScope scope = TensorScope.Begin();
        using PackedBatch token = PackedBatch.Create([new((int[])[1, Vocabulary], (int[])[1, 2])]), target = PackedBatch.Create([new((int[])[1, 2], (int[])[1, Vocabulary + 4])]);
        Assert.Contains($"id {Vocabulary}, ", Assert.Throws<ArgumentOutOfRangeException>(() => model.LossSum(token)).Message, StringComparison.Ordinal);
        Assert.Contains($"id {Vocabulary + 4}, ", Assert.Throws<ArgumentOutOfRangeException>(() => model.Forward(target)).Message, StringComparison.Ordinal);
        using PackedBatch longer = PackedBatch.Create(Draw([MaxLength + 1], 1));
        Assert.Contains($"cut sequences to {MaxLength} tokens", Assert.Throws<ArgumentException>(() => model.LossSum(longer)).Message, StringComparison.Ordinal);
    }
}
