using Varlen.Data;
using Varlen.Generation;
using Varlen.Models;
using Varlen.Nn;
using Varlen.Training;
using Xunit;

namespace Varlen.Tests.Training;

public sealed class TrainerTests
{
    private static readonly TrainerOptions Fast = new() { Steps = 150, LearningRate = 1e-2, WarmupSteps = 5 };

    [Fact]
    public void LossFallsAndTheModelWritesWhatItLearned()
    {
        using var corpus = new Corpus(16, Corpus.Patterns(40, 1));
        using Gpt2Model model = Corpus.Model(16);
        using PackedLoader loader = corpus.Loader(64);
        using var trainer = new Trainer(model, loader, Fast);
        var losses = new List<double>();
        for (int i = 0; i < 150; i++) losses.Add(trainer.Step().Loss);
        Assert.True(losses[0] > 5 && losses[^1] < 1.2, $"from {losses[0]} to {losses[^1]}");
        int[] written = [.. new TextGenerator(model, Corpus.Tokenizer.EndOfText).Generate(Corpus.Tokenizer.Encode("ab"), new GenerationOptions { MaxTokens = 6, Temperature = 0 })];
        Assert.StartsWith("aba", Corpus.Tokenizer.Decode(written), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(0.2)]
    public void BitsDoNotDependOnTheNumberOfThreads(double dropout) => Threads.AssertSameBits(() =>
    {
        using var corpus = new Corpus(16, Corpus.Patterns(30, 2));
        using Gpt2Model model = Corpus.Model(16, dropout: dropout);
        using PackedLoader loader = corpus.Loader(64);
        using var trainer = new Trainer(model, loader, Fast);
        for (int i = 0; i < 4; i++) trainer.Step();
        return [.. model.StateDict().Values.Select(tensor => tensor.Detach().Clone())];
    });

    /// <summary>One step over several micro-batches is the step over their union: loss, norm and new weights.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(7)]
    public void LossAndGradientAreTokenExactOverMicroBatches(int microBatches)
    {
        using var corpus = new Corpus(16, Corpus.Patterns(40, 3));
        using Gpt2Model model = Corpus.Model(16), other = Corpus.Model(16);
        TrainerOptions options = Fast with { MicroBatches = microBatches, ClipNorm = null, Optimizer = OptimizerKind.Sgd };
        using PackedLoader loader = corpus.Loader(24), again = corpus.Loader(24);
        using var trainer = new Trainer(model, loader, options);
        TrainingStep step = trainer.Step();

        // By hand: all sequences in one batch, one division by all targets.
        PackedBatch[] parts = [.. Enumerable.Range(0, microBatches).Select(_ => again.Next())];
        var sequences = new List<TokenSequence>();
        foreach (PackedBatch part in parts)
        {
            int[] tokens = part.Tokens.ToArray<int>(), targets = part.Targets.ToArray<int>();
            for (int i = 0; i < part.Layout.Count; i++)
            {
                (int start, int length) = part.Layout[i];
                sequences.Add(new(tokens.AsMemory(start, length), targets.AsMemory(start, length)));
            }
        }
        using (TensorScope.Begin())
        {
            using PackedBatch whole = PackedBatch.Create(sequences);
            Tensor loss = other.LossSum(whole) * (1.0 / whole.TargetCount);
            loss.Backward();
            Assert.Equal(whole.TargetCount, step.Targets);
            Assert.Equal(loss.Item(), step.Loss, 5);
            foreach ((Parameter expected, Parameter actual) in other.Parameters().Zip(model.Parameters())) Numeric.AssertClose(expected.Grad!, actual.Grad!, 1e-5);
        }
        foreach (PackedBatch part in parts) part.Dispose();
    }

    [Fact]
    public void ANonFiniteStepChangesNothingIsCountedAndTheThirdInARowEndsTraining()
    {
        using var corpus = new Corpus(16, Corpus.Patterns(30, 4));
        using Gpt2Model model = Corpus.Model(16);
        using PackedLoader loader = corpus.Loader(64);
        using var trainer = new Trainer(model, loader, Fast);
        Assert.Equal(StepOutcome.Updated, trainer.Step().Outcome);
        Parameter poisoned = model.Parameters().First(parameter => parameter.Shape.Rank == 1);
        float[] good = poisoned.Master.ToArray<float>();
        poisoned.Master.CopyFrom(Tensor.From([.. good.Select((value, i) => i == 0 ? float.NaN : value)], poisoned.Shape));
        float[] before = Weights(model), moments = Moments(trainer);

        TrainingStep first = trainer.Step();
        Assert.Equal(StepOutcome.NotFinite, first.Outcome);
        Assert.Equal(before, Weights(model));
        Assert.Equal(moments, Moments(trainer));
        trainer.Step();
        var failure = Assert.Throws<TrainingDivergedException>(() => trainer.Step());
        Assert.Equal(4, failure.Step);
        Assert.Equal(3, trainer.SkippedSteps);
        Assert.Contains("were not finite in 3 steps in a row", failure.Message, StringComparison.Ordinal);
        Assert.Contains(model.NamedParameters().Select(entry => entry.Key), key => failure.Message.Contains(key, StringComparison.Ordinal));
        Assert.Equal(before, Weights(model));
    }

    [Fact]
    public void ASingleNonFiniteStepIsForgotten()
    {
        using var corpus = new Corpus(16, Corpus.Patterns(30, 5));
        using Gpt2Model model = Corpus.Model(16);
        using PackedLoader loader = corpus.Loader(64);
        using var trainer = new Trainer(model, loader, Fast);
        Parameter parameter = model.Parameters().First(candidate => candidate.Shape.Rank == 1);
        float[] good = parameter.Master.ToArray<float>();
        for (int round = 0; round < 4; round++)
        {
            parameter.Master.CopyFrom(Tensor.From([.. good.Select(_ => float.PositiveInfinity)], parameter.Shape));
            Assert.Equal(StepOutcome.NotFinite, trainer.Step().Outcome);
            parameter.Master.CopyFrom(Tensor.From(good, parameter.Shape));
            Assert.Equal(StepOutcome.Updated, trainer.Step().Outcome);
            good = parameter.Master.ToArray<float>();
        }
        Assert.Equal(4, trainer.SkippedSteps);
    }

    [Fact]
    public void OptionsOutOfRangeAreNamed()
    {
        using var corpus = new Corpus(16, Corpus.Patterns(30, 6));
        using Gpt2Model model = Corpus.Model(16);
        using PackedLoader loader = corpus.Loader(64);
        Assert.Equal("LearningRate", Assert.Throws<ArgumentOutOfRangeException>(() => new Trainer(model, loader, Fast with { LearningRate = double.NaN })).ParamName);
        Assert.Equal("Steps", Assert.Throws<ArgumentOutOfRangeException>(() => new Trainer(model, loader, Fast with { Steps = 0 })).ParamName);
        Assert.Equal("MicroBatches", Assert.Throws<ArgumentOutOfRangeException>(() => new Trainer(model, loader, Fast with { MicroBatches = 0 })).ParamName);
    }

    [Fact]
    public void AStepMakesNoGarbageToSpeakOf()
    {
        using var corpus = new Corpus(16, Corpus.Patterns(60, 7));
        using Gpt2Model model = Corpus.Model(16);
        using PackedLoader loader = corpus.Loader(64);
        using var trainer = new Trainer(model, loader, Fast with { Steps = 1100 });
        for (int i = 0; i < 100; i++) trainer.Step();
        int collections = GC.CollectionCount(2);
        long before = GC.GetTotalAllocatedBytes(precise: true);
        for (int i = 0; i < 1000; i++) trainer.Step();
        long perStep = (GC.GetTotalAllocatedBytes(precise: true) - before) / 1000;
        Assert.True(perStep < 64 << 10, $"{perStep} bytes a step");
        Assert.Equal(collections, GC.CollectionCount(2));
    }

    [Theory]
    [InlineData(LearningRateDecay.Constant, 1.0, 1.0)]
    [InlineData(LearningRateDecay.Linear, 0.55, 0.1)]
    [InlineData(LearningRateDecay.Cosine, 0.55, 0.1)]
    public void SchedulesRiseLinearlyAndEndWhereTheyShould(LearningRateDecay decay, double middle, double last)
    {
        var schedule = new LearningRateSchedule(1, Steps: 110, WarmupSteps: 10, decay, Final: 0.1);
        Assert.Equal(0.1, schedule.At(1), 12);
        Assert.Equal(1, schedule.At(10), 12);
        Assert.Equal(middle, schedule.At(60), 12);
        Assert.Equal(last, schedule.At(110), 12);
        Assert.Equal(last, schedule.At(500), 12);
        Assert.Throws<ArgumentOutOfRangeException>(() => schedule.At(0));
    }

    private static float[] Weights(CausalLanguageModel model) => [.. model.StateDict().Values.SelectMany(tensor => tensor.ToArray<float>())];

    private static float[] Moments(Trainer trainer) => [.. trainer.Optimizer.StateDict().Where(entry => entry.Key != "step").SelectMany(entry => entry.Value.ToArray<float>())];
}
