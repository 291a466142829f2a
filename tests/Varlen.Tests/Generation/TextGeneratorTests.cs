using Varlen.Data;
using Varlen.Generation;
using Varlen.Models;
using Xunit;

namespace Varlen.Tests.Generation;

public sealed class TextGeneratorTests
{
    private static Decoder Make(int maxLength = 12)
    {
        var model = new Decoder(new DecoderConfig { VocabularySize = 9, MaxLength = maxLength, Width = 12, Layers = 2, Heads = 3 }, seed: 2);
        // Sharper than at the start, so that what is likeliest depends on what was read.
        using TensorScope scope = TensorScope.Begin();
        foreach (Varlen.Nn.Parameter parameter in model.Parameters()) parameter.Load(parameter.Master * 4);
        return model;
    }

    /// <summary>The same rule without a cache: past the positions the older half is forgotten.</summary>
    private static List<int> Greedy(CausalLanguageModel model, int[] prompt, int count)
    {
        List<int> window = [.. prompt.TakeLast(model.MaxLength)], added = [];
        using var region = GradMode.NoGrad();
        for (int n = 0; n < count; n++)
        {
            using TensorScope scope = TensorScope.Begin();
            int[] ids = [.. window];
            using PackedBatch batch = PackedBatch.Create([new TokenSequence(ids, ids)]);
            float[] logits = model.LastLogits(batch).ToArray<float>();
            int next = Array.IndexOf(logits, logits.Max());
            added.Add(next);
            if (window.Count == model.MaxLength) window.RemoveRange(0, (model.MaxLength + 1) / 2);
            window.Add(next);
        }
        return added;
    }

    [Theory]
    [InlineData(12, 3)]
    [InlineData(12, 12)]
    [InlineData(12, 40)]
    [InlineData(7, 5)]
    [InlineData(1, 2)]
    public void GreedyIsTheArgmaxOfReadingTheWindowAgain(int maxLength, int promptLength)
    {
        using Decoder model = Make(maxLength);
        int[] prompt = new RandomTokenDataset(LengthDistribution.Fixed(promptLength), 9, 4)[0].Tokens.ToArray();
        Assert.Equal(Greedy(model, prompt, 30), new TextGenerator(model, -1).Generate(prompt, new GenerationOptions { MaxTokens = 30, Temperature = 0 }));
    }

    [Fact]
    public void StopsAtTheEndOfTextWithoutIt()
    {
        using Decoder model = Make();
        int[] prompt = [1, 2, 3];
        List<int> all = Greedy(model, prompt, 20);
        int end = all[^1];
        Assert.Equal(all.TakeWhile(id => id != end), new TextGenerator(model, end).Generate(prompt, new GenerationOptions { MaxTokens = 20, Temperature = 0 }));
    }

    [Fact]
    public void TheSeedDecidesAndAnEnumerationMayBeRepeated()
    {
        using Decoder model = Make();
        var generator = new TextGenerator(model, -1);
        var options = new GenerationOptions { MaxTokens = 25, Temperature = 8, TopK = 5, TopP = 0.95, Seed = 7 };
        IEnumerable<int> tokens = generator.Generate([1, 2], options);
        int[] first = [.. tokens];
        Assert.Equal(25, first.Length);
        Assert.Equal(first, tokens);
        Assert.NotEqual(first, generator.Generate([1, 2], options with { Seed = 8 }));
        Assert.Equal(first[..10], generator.Generate([1, 2], options with { MaxTokens = 10 }));
        Assert.Equal(generator.Generate([1, 2], options with { Temperature = 0 }), generator.Generate([1, 2], options with { Temperature = 2, TopK = 1, TopP = null }));
    }

    [Fact]
    public void StreamsAndReleasesWhenLeftEarly()
    {
        using Decoder model = Make();
        Memory.AssertReleasesAll(() => Assert.Equal(2, new TextGenerator(model, -1).Generate([1], new GenerationOptions { MaxTokens = int.MaxValue }).Take(2).Count()));
    }

    [Fact]
    public void BadArgumentsAreRefusedBeforeTheFirstToken()
    {
        using Decoder model = Make();
        var generator = new TextGenerator(model, -1);
        Assert.Contains("prompt 0 is empty", Assert.Throws<ArgumentException>(() => generator.Generate(Array.Empty<int>())).Message, StringComparison.Ordinal);
        Assert.Contains("token 1 of prompt 0 is 9", Assert.Throws<ArgumentException>(() => generator.Generate([1, 9])).Message, StringComparison.Ordinal);
        foreach (GenerationOptions wrong in (GenerationOptions[])[new() { MaxTokens = -1 }, new() { Temperature = double.NaN }, new() { TopK = 0 }, new() { TopP = 0 }, new() { TopP = 1.1 }, new() { RepetitionPenalty = 0 }, new() { BatchSize = 0 }])
            Assert.Throws<ArgumentOutOfRangeException>(() => generator.Generate([1], wrong));
        Assert.Contains("tokenizer", Assert.Throws<ArgumentException>(() => generator.Generate([1], new GenerationOptions { Stop = ["a"] })).Message, StringComparison.Ordinal);
        Assert.Contains("empty", Assert.Throws<ArgumentException>(() => generator.Generate([1], new GenerationOptions { Stop = [""] })).Message, StringComparison.Ordinal);
        IEnumerable<GeneratedToken> second = generator.Generate([new GenerationPrompt((int[])[1]), new GenerationPrompt((int[])[2, 9])], new GenerationOptions { MaxTokens = 2 });
        Assert.Contains("token 1 of prompt 1 is 9", Assert.Throws<ArgumentException>(() => second.Count()).Message, StringComparison.Ordinal);
    }
}
