using Varlen.Backends.Cuda;
using Varlen.Data;
using Varlen.Generation;
using Varlen.Models;
using Varlen.Ops;
using Xunit;

namespace Varlen.Tests.Generation;

/// <summary>A decoding step that is recorded gives the bits of the same step as it is, and within rounding those of reading everything again.</summary>
public sealed class DecodeStepTests
{
    private const int Vocabulary = 67, MaxLength = 700;

    private static CausalLanguageModel Make(string model, Device device, DType dtype = DType.Float32)
    {
        CausalLanguageModel made = (model switch
        {
            "gpt2" => (CausalLanguageModel)new Gpt2Model(new Gpt2Config { VocabularySize = Vocabulary, MaxLength = MaxLength, Width = 24, Layers = 2, Heads = 3, InitializerRange = 0.3, EndOfText = 5 }, 1),
            "llama" => new LlamaModel(new LlamaConfig { VocabularySize = Vocabulary, MaxLength = MaxLength, Width = 32, Inner = 20, Layers = 2, Heads = 4, KeyValueHeads = 2, InitializerRange = 0.3 }, 1),
            "window" => new LlamaModel(new LlamaConfig { Family = LlamaFamily.Mistral, VocabularySize = Vocabulary, MaxLength = MaxLength, Width = 32, Inner = 20, Layers = 2, Heads = 4, KeyValueHeads = 1, SlidingWindow = 300, InitializerRange = 0.3 }, 1),
            _ => new Decoder(new DecoderConfig { VocabularySize = Vocabulary, MaxLength = MaxLength, Width = 24, Layers = 2, Heads = 3 }, 1),
        }).To(device, dtype);
        made.Eval();
        return made;
    }

    private static int[] Ids(int length, int seed) => new RandomTokenDataset(LengthDistribution.Fixed(length), Vocabulary, (ulong)seed)[0].Tokens.ToArray();

    /// <summary>
    /// Sequences end, begin and wait while others go on; the longest passes the sizes for which the step is recorded, rows grow, and pages do. What no sequence has
    /// written is NaN on the emulator.
    /// </summary>
    [Theory]
    [InlineData("gpt2", DType.Float32)]
    [InlineData("gpt2", DType.BFloat16)]
    [InlineData("llama", DType.Float16)]
    [InlineData("window", DType.Float32)]
    [InlineData("decoder", DType.Float32)]
    public void AReplayHasTheBitsOfTheStep(string name, DType dtype)
    {
        Device device = TestDevices.Cuda();
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        using CausalLanguageModel model = Make(name, device, dtype);
        var options = new GenerationOptions { Temperature = 1.1, TopK = 30, TopP = 0.95, RepetitionPenalty = 1.2 };
        using Side recorded = new(model, options, records: true), plain = new(model, options, records: false);
        using var reference = new KvCache(model, 5);
        // Lengths at which sequences begin, each in the slot that is free.
        var starts = new Queue<int>([3, 250, 1, 64, 505, 20, 7, 130]);
        var texts = new List<int>?[5];
        int draws = 0;
        for (int step = 0; step < 40; step++)
        {
            using TensorScope scope = TensorScope.Begin();
            for (int slot = 0; slot < texts.Length; slot++)
            {
                if (step is not (0 or 4 or 5 or 14 or 15 or 16 or 30 or 31) || texts[slot] is not null || !starts.TryDequeue(out int length)) continue;
                int[] prompt = Ids(length, seed + slot + step);
                texts[slot] = [.. prompt];
                foreach (Side side in (Side[])[recorded, plain]) side.Begin(slot, prompt);
                reference.Clear(slot);
                reference.Advance([.. texts.Select((_, i) => i == slot ? prompt.AsMemory() : default)]);
                texts[slot]!.Add(random.Next(Vocabulary));
                if (step > 0) break;
            }
            SampledRow[] rows = [.. texts.Select((text, slot) => (text, slot)).Where(entry => entry.text is not null && random.Next(9) > 0).Select(entry => SampledRow.Of(entry.slot, entry.text![^1], (ulong)seed, draws++))];
            if (rows.Length == 0) continue;
            int[] ids = recorded.Run(rows), expected = plain.Run(rows);
            Assert.True(expected.SequenceEqual(ids), $"seed {seed}, step {step}: {string.Join(' ', expected)} / {string.Join(' ', ids)}");
            Numeric.AssertSameBits(plain.Step.Logits(rows.Length), recorded.Step.Logits(rows.Length));
            var unread = new ReadOnlyMemory<int>[5];
            foreach (SampledRow row in rows) unread[row.Slot] = (int[])[row.Token];
            Tensor again = reference.Advance(unread).To(Device.Cpu, DType.Float32), logits = recorded.Step.Logits(rows.Length).To(Device.Cpu, DType.Float32);
            double scale = Math.Max(1, again.ToArray<float>().Max(Math.Abs));
            Numeric.AssertClose(again, logits, (dtype == DType.Float32 ? 1e-4 : 0.05) * scale);
            for (int i = 0; i < rows.Length; i++)
            {
                texts[rows[i].Slot]!.Add(ids[i]);
                if (random.Next(12) > 0 || step < 12) continue;
                texts[rows[i].Slot] = null;
                foreach (KvCache cache in (KvCache[])[recorded.Cache, plain.Cache, reference]) cache.Clear(rows[i].Slot);
            }
            Assert.Equal(plain.Cache.Lengths.ToArray(), recorded.Cache.Lengths.ToArray());
        }
        Assert.Null(recorded.Step.WhyNotRecorded);
        Assert.Equal(0, plain.Step.Replays);
        Assert.True(recorded.Step.Replays >= 10, $"seed {seed}: {recorded.Step.Replays} replays of {recorded.Step.Plans} recordings");
        Assert.InRange(recorded.Step.Plans, 2, 9);
    }

    /// <summary>Whole texts, among them such as pass the positions and are read again.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void TextsAreThoseOfUnrecordedSteps(double temperature)
    {
        Device device = TestDevices.Cuda();
        using var model = new Gpt2Model(new Gpt2Config { VocabularySize = Vocabulary, MaxLength = 40, Width = 24, Layers = 2, Heads = 3, InitializerRange = 0.4, EndOfText = 5 }, 3);
        model.To(device);
        var options = new GenerationOptions { MaxTokens = 60, Temperature = temperature, RepetitionPenalty = 1.1, BatchSize = 3 };
        GenerationPrompt[] prompts = [.. new[] { 3, 39, 60, 1, 40, 7 }.Select((length, i) => new GenerationPrompt(Ids(length, i), i == 2 ? 9 : null))];
        var cuda = (CudaBackend)device.Backend;
        int launched = cuda.LaunchCount;
        Assert.True(model.IsTraining);
        TextGenerator recording = new(model), plain = new(model) { Records = false };
        GeneratedToken[] tokens = [.. recording.Generate(prompts, options)];
        int recorded = cuda.LaunchCount - launched;
        Assert.Equal(plain.Generate(prompts, options), tokens);
        Assert.Null(recording.WhyNotRecorded);
        int unrecorded = cuda.LaunchCount - launched - recorded;
        Assert.True(recorded < unrecorded / 2, $"{recorded} launches, and {unrecorded} where nothing is recorded");
        Assert.True(model.IsTraining);
        // On its own, a prompt has the text that it has among others.
        device.IsDeterministic = true;
        try
        {
            GenerationPrompt[] alone = [prompts[2]];
            Assert.Equal(plain.Generate(prompts, options).Where(token => token.Prompt == 2).Select(token => token.Id), recording.Generate(alone, options).Select(token => token.Id));
        }
        finally
        {
            device.IsDeterministic = false;
        }
        Memory.AssertReleasesAll(() => Assert.Equal(30, recording.Generate(prompts, options).Take(30).Count()));
    }

    /// <summary>Pages that are taken one by one move memory, which is released, and the step is recorded anew.</summary>
    [Fact]
    public void PagesThatGrowReleaseWhatTheyWere()
    {
        Device device = TestDevices.Cuda();
        using CausalLanguageModel model = Make("gpt2", device);
        Memory.AssertReleasesAll(() =>
        {
            using var side = new Side(model, new GenerationOptions { Temperature = 0 }, records: true);
            side.Begin(0, Ids(60, 1));
            // Nobody said how long it may become, and its pages are not those of the first reservation.
            for (int i = 0; i < 10; i++) side.Run([SampledRow.Of(0, 3, 1, i)]);
            Assert.Equal(70, side.Cache.Lengths[0]);
            side.Begin(1, Ids(400, 2));
            side.Run([SampledRow.Of(0, 3, 1, 1), SampledRow.Of(1, 3, 1, 1)]);
            Assert.True(side.Step.Plans > 1);
        });
    }

    /// <summary>A model that does what cannot be recorded generates all the same, and the reason is told.</summary>
    [Fact]
    public void WhatCannotBeRecordedRunsAsItIs()
    {
        Device device = TestDevices.Cuda();
        using CausalLanguageModel inner = Make("gpt2", device), model = new Reading(inner);
        var options = new GenerationOptions { MaxTokens = 9, RepetitionPenalty = 1.5 };
        TextGenerator plain = new(inner, -1), other = new(model, -1);
        Assert.Equal(plain.Generate([1, 2, 3], options), other.Generate([1, 2, 3], options));
        Assert.Null(plain.WhyNotRecorded);
        Assert.Contains("reads values back", other.WhyNotRecorded, StringComparison.Ordinal);
    }

    /// <summary>A step that is replayed makes no garbage to speak of, takes no memory and sends its numbers at once.</summary>
    [Fact]
    public void AReplayAllocatesNearlyNothing()
    {
        Device device = TestDevices.Cuda();
        using CausalLanguageModel model = Make("gpt2", device);
        var options = new GenerationOptions { MaxTokens = 60, RepetitionPenalty = 1.2, TopP = 0.9, BatchSize = 4 };
        using IEnumerator<GeneratedToken> tokens = new TextGenerator(model, -1).Generate([.. new[] { 2, 5, 9, 30 }.Select(length => new GenerationPrompt(Ids(length, 1)))], options).GetEnumerator();
        for (int i = 0; i < 4 * 8; i++) Assert.True(tokens.MoveNext());
        var cuda = (CudaBackend)device.Backend;
        (long least, int launched) = (long.MaxValue, cuda.LaunchCount);
        for (int step = 0; step < 20; step++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 4; i++) Assert.True(tokens.MoveNext());
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }
        Assert.Equal(20, cuda.LaunchCount - launched);
        Assert.InRange(least, 0, 256);
    }

    [Fact]
    public void DamagedWeightsAreToldAsOnTheHost()
    {
        Device device = TestDevices.Cuda();
        using CausalLanguageModel model = Make("gpt2", device);
        IEnumerator<int> tokens = new TextGenerator(model, -1).Generate([1, 2, 3], new GenerationOptions { MaxTokens = 20 }).GetEnumerator();
        for (int i = 0; i < 6; i++) Assert.True(tokens.MoveNext());
        model.Parameters()[^1].Load(Tensor.Full(model.Parameters()[^1].Shape, double.NaN));
        Assert.Contains("NaN", Assert.Throws<InvalidOperationException>(() => tokens.MoveNext()).Message, StringComparison.Ordinal);
        tokens.Dispose();
    }

    /// <summary>A cache, and the step on it.</summary>
    private sealed class Side : IDisposable
    {
        private readonly DeviceSampler _sampler;

        public Side(CausalLanguageModel model, GenerationOptions options, bool records)
        {
            Cache = new KvCache(model, 5);
            _sampler = DeviceSampler.For(model, options)!;
            Step = DecodeStep.For(Cache, _sampler, records)!;
        }

        public KvCache Cache { get; }
        public DecodeStep Step { get; }

        public void Begin(int slot, int[] prompt)
        {
            using TensorScope scope = TensorScope.Begin();
            Cache.Clear(slot);
            var tokens = new ReadOnlyMemory<int>[5];
            tokens[slot] = prompt;
            Cache.Advance(tokens);
            _sampler.Begin(slot, prompt);
        }

        public int[] Run(SampledRow[] rows)
        {
            var ids = new int[rows.Length];
            Step.Run(rows, ids);
            return ids;
        }

        public void Dispose()
        {
            Step.Dispose();
            _sampler.Dispose();
            Cache.Dispose();
        }
    }

    /// <summary>A model that looks at its own numbers in between.</summary>
    private sealed class Reading(CausalLanguageModel inner) : CausalLanguageModel
    {
        public override int VocabularySize => inner.VocabularySize;
        public override int MaxLength => inner.MaxLength;
        public override int Layers => inner.Layers;
        public override int Heads => inner.Heads;
        public override int HeadDim => inner.HeadDim;
        protected override (Varlen.Nn.Parameter Weight, Varlen.Nn.Parameter? Bias) Head => (inner.Parameters().First(parameter => parameter.Shape[0] == Vocabulary), null);
        public override void SaveConfig(string folder) => inner.SaveConfig(folder);
        protected override Tensor Embed(TokenBatch batch) => inner.InputEmbeddings(batch);

        protected override Tensor Features(TokenBatch batch, Tensor embedded)
        {
            _ = embedded.Narrow(0, 0, 1).ToArray<float>();
            return (Tensor)typeof(CausalLanguageModel).GetMethod("Features", System.Reflection.BindingFlags.NonPublic | System.Reflection.BindingFlags.Instance)!.Invoke(inner, [batch, embedded])!;
        }
    }
}
