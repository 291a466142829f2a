using Varlen.Data;
using Varlen.Generation;
using Varlen.Models;
using Varlen.Text;
using Xunit;

namespace Varlen.Tests.Generation;

public sealed class BatchGenerationTests
{
    private static Gpt2Model Make(int maxLength = 64)
    {
        var model = new Gpt2Model(new Gpt2Config { VocabularySize = 257, MaxLength = maxLength, Width = 16, Layers = 2, Heads = 2, InitializerRange = 0.4, EndOfText = 256 }, 3);
        return model;
    }

    private static int[] Ids(int length, int seed) => new RandomTokenDataset(LengthDistribution.Fixed(length), 256, (ulong)seed)[0].Tokens.ToArray();

    /// <summary>The same rule without cache, batch or generator: everything is read again for each token.</summary>
    private static List<int> Recomputed(CausalLanguageModel model, int[] prompt, GenerationOptions options, long seed)
    {
        var sampler = new TokenSampler(options.Temperature, options.TopK, options.TopP, (ulong)seed, options.RepetitionPenalty);
        List<int> window = [.. prompt.TakeLast(model.MaxLength)], added = [], all = [.. prompt];
        using var region = GradMode.NoGrad();
        while (added.Count < options.MaxTokens)
        {
            using TensorScope scope = TensorScope.Begin();
            int[] ids = [.. window];
            using PackedBatch batch = PackedBatch.Create([new TokenSequence(ids, ids)]);
            int next = sampler.Draw(model.LastLogits(batch).ToArray<float>(), added.Count, all.Distinct());
            added.Add(next);
            all.Add(next);
            if (next == 256) break;
            if (window.Count == model.MaxLength) window.RemoveRange(0, (model.MaxLength + 1) / 2);
            window.Add(next);
        }
        return added;
    }

    /// <summary>Prompts of different lengths, some past the positions, come and go; each has the tokens that it has alone and without a cache.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(32)]
    public void EachPromptHasItsOwnText(int batchSize)
    {
        int seed = Numeric.FreshSeed();
        using Gpt2Model model = Make();
        model.Eval();
        var options = new GenerationOptions { MaxTokens = 40, Temperature = 1.5, TopK = 40, TopP = 0.9, RepetitionPenalty = 1.3, BatchSize = batchSize };
        int[][] prompts = [.. new[] { 3, 50, 1, 64, 90, 7, 20 }.Select((length, i) => Ids(length, seed + i))];
        List<int>[] drawn = [.. prompts.Select(_ => new List<int>())];
        var ends = new GenerationEnd[prompts.Length];
        foreach (GeneratedToken token in new TextGenerator(model).Generate(prompts.Select((ids, i) => new GenerationPrompt(ids, i == 2 ? 99 : null)), options))
        {
            Assert.Equal(GenerationEnd.None, ends[token.Prompt]);
            Assert.Null(token.Text);
            drawn[token.Prompt].Add(token.Id);
            ends[token.Prompt] = token.End;
        }
        for (int i = 0; i < prompts.Length; i++)
        {
            List<int> expected = Recomputed(model, prompts[i], options, i == 2 ? 99 : options.Seed);
            Assert.True(expected.SequenceEqual(drawn[i]), $"seed {seed}, prompt {i}: {string.Join(' ', expected)} / {string.Join(' ', drawn[i])}");
            Assert.Equal(expected[^1] == 256 ? GenerationEnd.EndOfText : GenerationEnd.Length, ends[i]);
        }
    }

    /// <summary>Prompts are taken as there is room for them, not before.</summary>
    [Fact]
    public void PromptsAreTakenOneByOne()
    {
        using Gpt2Model model = Make();
        int taken = 0;
        IEnumerable<GenerationPrompt> Prompts()
        {
            while (true)
            {
                taken++;
                yield return (int[])[taken];
            }
        }
        Memory.AssertReleasesAll(() =>
        {
            taken = 0;
            GeneratedToken[] tokens = [.. new TextGenerator(model, -1).Generate(Prompts(), new GenerationOptions { MaxTokens = 2, BatchSize = 3 }).Take(12)];
            Assert.Equal([0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5], tokens.Select(token => token.Prompt));
            Assert.Equal(6, taken);
        });
        Assert.Equal([0, 1], new TextGenerator(model).Generate([(int[])[1], (int[])[2]], new GenerationOptions { MaxTokens = 0 }).Select(token => token.Prompt));
    }

    /// <summary>A text ends before a stop string, wherever tokens cut it, and what is shown before is never taken back.</summary>
    [Fact]
    public void TextsEndBeforeAStopString()
    {
        using Gpt2Model model = Make();
        var tokenizer = new ByteTokenizer();
        var options = new GenerationOptions { MaxTokens = 60, Temperature = 2, Seed = 5 };
        var generator = new TextGenerator(model, tokenizer);
        string whole = Text(options, out _);
        Assert.True(whole.Length > 30, whole);
        foreach ((int start, int length) in new[] { (4, 3), (10, 1), (0, 2), (12, 8) })
        {
            string stop = whole.Substring(start, length);
            string text = Text(options with { Stop = ["never there", stop] }, out GenerationEnd end);
            Assert.Equal(whole[..whole.IndexOf(stop, StringComparison.Ordinal)], text);
            Assert.Equal(GenerationEnd.Stop, end);
        }
        Assert.Equal(whole, Text(options with { Stop = [whole[^3..] + "?"] }, out GenerationEnd unstopped));
        Assert.NotEqual(GenerationEnd.Stop, unstopped);

        string Text(GenerationOptions with, out GenerationEnd end)
        {
            GeneratedToken[] tokens = [.. generator.Generate([(int[])[65, 66]], with)];
            end = tokens[^1].End;
            return string.Concat(tokens.Select(token => token.Text));
        }
    }

    [Fact]
    public void CharactersOfSeveralTokensComeWhole()
    {
        var tail = new TextTail(new ByteTokenizer(), ["\u00e4x"]);
        byte[] bytes = "a\u00e4\u20acz\u00e4x"u8.ToArray();
        string[] pieces = [.. bytes.Select(value => tail.Add(value, last: false).Text)];
        Assert.Equal(["a", "", "", "", "", "\u00e4\u20ac", "z", "", "", ""], pieces);
        Assert.Equal(("", true), tail.Add(-1, last: true));
        Assert.Equal(("\ufffd", false), new TextTail(new ByteTokenizer(), []).Add(0xE2, last: true));
    }

    [Fact]
    public void ThePenaltyIsThatOfTransformers()
    {
        float[] logits = [2, 1.5f, -1, -1.2f];
        int Greedy(double penalty, params int[] seen) => new TokenSampler(0, null, null, 1, penalty).Draw(logits, 0, seen);
        Assert.Equal(0, Greedy(1, 0));
        Assert.Equal(1, Greedy(2, 0));
        Assert.Equal(0, Greedy(2, 0, 1));
        Assert.Equal(3, new TokenSampler(0, null, null, 1, 2).Draw([-3, -2, -1, -1.5f], 0, [1, 2]));
        Assert.Equal(2, new TokenSampler(0, null, null, 1, 0.5).Draw([-3, -2, -1, -1.5f], 0, [1, 2]));
    }
}
