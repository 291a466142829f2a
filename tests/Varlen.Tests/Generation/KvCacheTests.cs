using Varlen.Data;
using Varlen.Generation;
using Varlen.Models;
using Xunit;

namespace Varlen.Tests.Generation;

public sealed class KvCacheTests
{
    private const int Vocabulary = 19, MaxLength = 300;

    private static CausalLanguageModel Make(string model, DType dtype = DType.Float32) => (model switch
    {
        "gpt2" => (CausalLanguageModel)new Gpt2Model(new Gpt2Config { VocabularySize = Vocabulary, MaxLength = MaxLength, Width = 24, Layers = 2, Heads = 3, InitializerRange = 0.3 }, 1),
        "llama" => new LlamaModel(new LlamaConfig { VocabularySize = Vocabulary, MaxLength = MaxLength, Width = 24, Inner = 20, Layers = 2, Heads = 4, KeyValueHeads = 2, InitializerRange = 0.3 }, 1),
        "window" => new LlamaModel(new LlamaConfig { Family = LlamaFamily.Mistral, VocabularySize = Vocabulary, MaxLength = MaxLength, Width = 24, Inner = 20, Layers = 2, Heads = 4, KeyValueHeads = 1, SlidingWindow = 7, InitializerRange = 0.3 }, 1),
        // Heads so wide that the keys do not fit one chunk of the kernel.
        "wide" => new Decoder(new DecoderConfig { VocabularySize = Vocabulary, MaxLength = MaxLength, Width = 240, Layers = 2, Heads = 1 }, 1),
        _ => new Decoder(new DecoderConfig { VocabularySize = Vocabulary, MaxLength = MaxLength, Width = 24, Layers = 2, Heads = 3 }, 1),
    }).To(Device.Cpu, dtype);

    private static int[] Ids(int length, ulong seed) => new RandomTokenDataset(LengthDistribution.Fixed(length), Vocabulary, seed)[0].Tokens.ToArray();

    private static Tensor Recompute(CausalLanguageModel model, ReadOnlyMemory<int> ids)
    {
        using var region = GradMode.NoGrad();
        using PackedBatch batch = PackedBatch.Create([new TokenSequence(ids, ids)]);
        return model.LastLogits(batch);
    }

    /// <summary>Prefill, single tokens and pieces, across the borders of the kernels' tiles: always the bits of reading everything at once.</summary>
    [Theory]
    [InlineData("decoder", DType.Float32)]
    [InlineData("gpt2", DType.Float32)]
    [InlineData("wide", DType.Float32)]
    [InlineData("llama", DType.Float32)]
    [InlineData("window", DType.Float32)]
    [InlineData("gpt2", DType.BFloat16)]
    [InlineData("gpt2", DType.Float64)]
    public void TheCacheGivesTheBitsOfReadingEverythingAgain(string name, DType dtype)
    {
        ulong seed = (ulong)Numeric.FreshSeed();
        using CausalLanguageModel model = Make(name, dtype);
        model.Eval();
        int[] ids = Ids(MaxLength, seed);
        using var cache = new KvCache(model);
        int at = 0;
        foreach (int piece in (int[])[5, 1, 1, 1, 9, 1, 100, 1, 1, 9, 1, 1, 126, 1, 1, 41])
        {
            using TensorScope scope = TensorScope.Begin();
            Tensor logits = cache.Advance([ids.AsMemory(at, piece)]);
            at += piece;
            Assert.Equal([at], cache.Lengths.ToArray());
            double[] expected = Recompute(model, ids.AsMemory(0, at)).ToArray<double>(), actual = logits.ToArray<double>();
            Assert.True(expected.SequenceEqual(actual), $"seed {seed}, {at} tokens: {expected.Zip(actual, (a, b) => Math.Abs(a - b)).Max():R} apart");
        }
        Assert.Equal(MaxLength, at);
    }

    [Fact]
    public void SequencesTogetherAreEachAlone()
    {
        ulong seed = (ulong)Numeric.FreshSeed();
        using CausalLanguageModel model = Make("decoder");
        int[][] prompts = [Ids(7, seed), Ids(1, seed + 1), Ids(130, seed + 2)], next = [Ids(5, seed + 3), Ids(5, seed + 4), Ids(5, seed + 5)];
        using var together = new KvCache(model, 3);
        KvCache[] alone = [new(model), new(model), new(model)];
        using (TensorScope.Begin())
        {
            Compare(together.Advance([.. prompts.Select(prompt => (ReadOnlyMemory<int>)prompt)]), i => prompts[i]);
            for (int n = 0; n < 5; n++)
            {
                int step = n;
                Compare(together.Advance([.. next.Select(ids => (ReadOnlyMemory<int>)ids.AsMemory(step, 1))]), i => next[i].AsMemory(step, 1));
            }
        }
        foreach (KvCache cache in alone) cache.Dispose();

        void Compare(Tensor logits, Func<int, ReadOnlyMemory<int>> tokens)
        {
            for (int i = 0; i < 3; i++) Numeric.AssertSameBits(alone[i].Advance([tokens(i)]), logits.Narrow(0, i, 1));
        }
    }

    /// <summary>Sequences wait, end and begin while others go on, and take each other's pages.</summary>
    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    public void SequencesComeAndGo(DType dtype)
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        using CausalLanguageModel model = Make("gpt2", dtype);
        model.Eval();
        using var cache = new KvCache(model, 4);
        List<int>[] read = [[], [], [], []];
        for (int step = 0; step < 25; step++)
        {
            using TensorScope scope = TensorScope.Begin();
            var tokens = new ReadOnlyMemory<int>[4];
            for (int i = 0; i < 4; i++)
            {
                if (random.Next(6) == 0 || read[i].Count > 250)
                {
                    cache.Clear(i);
                    read[i].Clear();
                }
                int[] ids = Ids(random.Next(3) switch { 0 => 0, 1 => 1, _ => random.Next(1, 40) }, (ulong)(seed + 4 * step + i));
                tokens[i] = ids;
                read[i].AddRange(ids);
            }
            if (tokens.All(ids => ids.IsEmpty)) continue;
            Tensor logits = cache.Advance(tokens);
            Assert.Equal(read.Select(ids => ids.Count), cache.Lengths.ToArray());
            int row = 0;
            for (int i = 0; i < 4; i++)
                if (!tokens[i].IsEmpty) Numeric.AssertSameBits(Recompute(model, read[i].ToArray()), logits.Narrow(0, row++, 1));
            Assert.Equal(row, logits.Shape[0]);
        }
        // What is in use, and half as many pages again.
        Assert.True(cache.Bytes <= 2L * 2 * 24 * dtype.Size() * KvCache.PageSize * 4 * 5, $"seed {seed}: {cache.Bytes} bytes");
    }

    [Fact]
    public void PagesAreGivenBackAndTakenAgain()
    {
        var pages = new PageAllocator(3, 4);
        pages.Resize(0, 3);
        pages.Resize(1, 1);
        Assert.Equal(4, pages[0].ToArray().Concat(pages[1].ToArray()).Distinct().Count());
        int[] first = pages[0].ToArray();
        pages.Resize(0, 1);
        Assert.Equal(first[..1], pages[0].ToArray());
        pages.Resize(2, 2);
        Assert.Subset(first.ToHashSet(), pages[2].ToArray().ToHashSet());
        Assert.Equal(4, pages.InUse);
        for (int i = 0; i < 3; i++) pages.Resize(i, 4);
        Assert.Equal(12, pages.Count);
        Assert.Equal(Enumerable.Range(0, 12), Enumerable.Range(0, 3).SelectMany(i => pages[i].ToArray()).Order());
    }

    [Fact]
    public void RefusesWhatItCannotReadAndStaysAsItWas()
    {
        using CausalLanguageModel model = Make("gpt2");
        using var cache = new KvCache(model);
        using TensorScope scope = TensorScope.Begin();
        cache.Advance([Ids(4, 1)]);
        Assert.Contains("no tokens for any sequence", Refusal(Array.Empty<int>()), StringComparison.Ordinal);
        Assert.Contains($"pass the model's {MaxLength} positions", Refusal(Ids(MaxLength, 1)), StringComparison.Ordinal);
        Assert.Contains("vocabulary", Refusal((int[])[Vocabulary]), StringComparison.Ordinal);
        Assert.Contains("tokens for 2 sequences", Assert.Throws<ArgumentException>(() => cache.Advance([Ids(1, 1), Ids(1, 1)])).Message, StringComparison.Ordinal);
        Assert.Equal([4], cache.Lengths.ToArray());
        Assert.True(model.IsTraining);
        cache.Clear();
        model.Eval();
        Numeric.AssertSameBits(Recompute(model, Ids(6, 2)), cache.Advance([Ids(6, 2)]));
        using var full = new Decoder(new DecoderConfig { VocabularySize = 3, MaxLength = 2, Width = 2, Heads = 1, Layers = 1, Causal = false });
        using var none = new KvCache(full);
        Assert.Contains("Causal", Assert.Throws<NotSupportedException>(() => none.Advance([(int[])[1]])).Message, StringComparison.Ordinal);

        string Refusal(ReadOnlyMemory<int> tokens) => Assert.ThrowsAny<ArgumentException>(() => cache.Advance([tokens])).Message;
    }

    [Fact]
    public void ATokenLeavesNothingBehind()
    {
        using CausalLanguageModel model = Make("gpt2");
        Memory.AssertReleasesAll(() =>
        {
            using var cache = new KvCache(model, 2);
            using TensorScope scope = TensorScope.Begin();
            cache.Advance([Ids(3, 1), Ids(2, 1)]);
            cache.Advance([Ids(1, 1), Ids(1, 1)]);
        });
    }

    /// <summary>The managed memory of a token does not grow with what has been read.</summary>
    [Fact]
    public void ATokenAllocatesTheSameWhereverItStands()
    {
        using CausalLanguageModel model = Make("decoder");
        using var cache = new KvCache(model);
        long early = long.MaxValue, late = long.MaxValue;
        for (int n = 0; n < 280; n++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            using (TensorScope.Begin()) cache.Advance([Ids(1, 1)]);
            long used = GC.GetAllocatedBytesForCurrentThread() - before;
            if (n is >= 70 and < 90) early = Math.Min(early, used);
            if (n >= 260) late = Math.Min(late, used);
        }
        // The least of a window, because what the runtime does now and then is none of the cache's. Each page between makes the page table longer.
        Assert.True(late <= early + 128, $"{early} bytes early, {late} late");
    }
}
