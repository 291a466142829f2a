using Varlen.Data;
using Varlen.Generation;
using Varlen.Models;
using Varlen.Text;
using Varlen.Training;
using Xunit;

namespace Varlen.Tests.Training;

public sealed class TrainerTests
{
    private static readonly DecoderConfig Tiny = new() { VocabularySize = new ByteTokenizer().VocabularySize, MaxLength = 16, Width = 16, Heads = 2, Layers = 1 };

    private sealed class Losses : List<double>, IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value) => Add(value.Loss);
    }

    private static List<TokenSequence> Texts() => [.. new[] { "abababababababab", "cdcdcd", "e" }
        .SelectMany(text => TokenSequence.Cut((int[])[.. new ByteTokenizer().Encode(text), new ByteTokenizer().EndOfText], 16))];

    [Fact]
    public void LossFallsAndTheModelWritesWhatItLearned()
    {
        using var model = new Decoder(Tiny, seed: 1);
        var losses = new Losses();
        using (var trainer = new Trainer(model, Texts(), new TrainerOptions { Steps = 80, BatchTokens = 32, LearningRate = 1e-2 })) trainer.Run(losses);
        Assert.Equal(80, losses.Count);
        Assert.True(losses[0] > 5 && losses[^1] < 1, $"from {losses[0]} to {losses[^1]}");
        Assert.StartsWith("babab", new ByteTokenizer().Decode(new TextGenerator(model, new ByteTokenizer().EndOfText).Generate(new ByteTokenizer().Encode("a"), 8, temperature: 0)), StringComparison.Ordinal);
    }

    [Fact]
    public void BitsDoNotDependOnTheNumberOfThreads()
    {
        int threads = Device.CpuThreads;
        try
        {
            float[][] weights = [.. new[] { 1, 2, 3 }.Select(count =>
            {
                Device.CpuThreads = count;
                using var model = new Decoder(Tiny, seed: 2);
                using (var trainer = new Trainer(model, Texts(), new TrainerOptions { Steps = 3, BatchTokens = 64 })) trainer.Run();
                return model.StateDict().Values.SelectMany(tensor => tensor.ToArray<float>()).ToArray();
            })];
            Assert.Equal(weights[0], weights[1]);
            Assert.Equal(weights[0], weights[2]);
        }
        finally
        {
            Device.CpuThreads = threads;
        }
    }

    [Fact]
    public void ASequenceThatDoesNotFitIsNamed()
    {
        using var model = new Decoder(Tiny);
        TokenSequence[] sequences = [new(new int[3], new int[3]), new(new int[20], new int[20])];
        Assert.Contains("sequence 1 has 20 tokens, more than 16", Assert.Throws<ArgumentException>(() => new Trainer(model, sequences, new TrainerOptions())).Message, StringComparison.Ordinal);
    }
}
