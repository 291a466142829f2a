using Varlen.Data;
using Varlen.Models;
using Varlen.Nn;
using Varlen.Training;
using Xunit;

namespace Varlen.Tests.Training;

/// <summary>Steps on examples of which only a part is trained.</summary>
public sealed class TrainedTargetsStepTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>Micro-batches with unequal numbers of targets give the step of one batch that holds them all, and that of each example alone.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(5)]
    public void Losses_are_divided_by_the_trained_targets_of_all_micro_batches(int microBatches)
    {
        // Of draws whose first batches happen to have equally many targets nothing would be learned.
        int seed;
        do seed = Numeric.FreshSeed();
        while (FirstCounts(seed, microBatches).Distinct().Count() == 1);
        using TokenStore store = Examples(seed);
        SequencePlan plan = SequencePlan.Create(store, 16, 1);
        using Gpt2Model model = Model(), other = Model(), single = Model();
        using PackedLoader loader = Loader(store, plan, 24), again = Loader(store, plan, 24);
        using var trainer = new Trainer(model, loader, new TrainerOptions { Steps = 10, MicroBatches = microBatches, ClipNorm = null, Optimizer = OptimizerKind.Sgd });
        TrainingStep step = trainer.Step();

        var sequences = new List<TokenSequence>();
        var counts = new List<long>();
        for (int i = 0; i < microBatches; i++)
        {
            using PackedBatch part = again.Next();
            counts.Add(part.TargetCount);
            int[] tokens = part.Tokens.ToArray<int>(), targets = part.Targets.ToArray<int>();
            for (int j = 0; j < part.Layout.Count; j++)
            {
                (int start, int length) = part.Layout[j];
                sequences.Add(new(tokens.AsMemory(start, length), targets.AsMemory(start, length)));
            }
        }
        Assert.True(counts.Distinct().Count() > 1 && counts.Sum() < sequences.Sum(sequence => sequence.Tokens.Length), $"seed {seed}: the parts are alike");
        using TensorScope scope = TensorScope.Begin();
        using PackedBatch whole = PackedBatch.Create(sequences);
        Tensor loss = other.LossSum(whole) * (1.0 / counts.Sum());
        loss.Backward();
        double sum = 0;
        foreach (TokenSequence sequence in sequences)
        {
            using PackedBatch alone = PackedBatch.Create([sequence]);
            Tensor own = single.LossSum(alone) * (1.0 / counts.Sum());
            own.Backward();
            sum += own.Item();
        }
        Assert.Equal((counts.Sum(), counts.Sum()), (whole.TargetCount, step.Targets));
        Assert.Equal(loss.Item(), step.Loss, 12);
        Assert.Equal(sum, step.Loss, 12);
        foreach (((Parameter merged, Parameter alone), Parameter actual) in other.Parameters().Zip(single.Parameters()).Zip(model.Parameters()))
        {
            Numeric.AssertClose(merged.Grad!, actual.Grad!, 1e-12);
            Numeric.AssertClose(alone.Grad!, actual.Grad!, 1e-12);
        }
    }

    [Fact]
    public void A_step_without_a_trained_target_changes_nothing_and_is_counted()
    {
        // Three of 15 inputs with one early target, one held out; batches of 20 leave the last ten inputs of an epoch to a batch of their own.
        string path = _folder["early"];
        using (var writer = new TokenStoreWriter(path, 257, new('0', 64)))
        {
            for (int i = 0; i < 3; i++)
            {
                writer.Append([1, 2]);
                writer.Append(new int[14], trained: false);
                writer.EndDocument();
            }
            writer.Complete();
        }
        using TokenStore store = TokenStore.Open(path);
        SequencePlan plan = SequencePlan.Create(store, 15, 1);
        using Gpt2Model model = Model();
        using var loader = new PackedLoader(store, plan, new LoaderOptions { BatchTokens = 20, Policy = PackingPolicy.Concat });
        using var trainer = new Trainer(model, loader, new TrainerOptions { Steps = 10 });
        Assert.Equal((StepOutcome.Updated, 2L), (trainer.Step().Outcome, plan.TrainingTargets));
        double[] before = Weights(model);
        TrainingStep step = trainer.Step();
        Assert.Equal((StepOutcome.NoTargets, 10, 0L, 1), (step.Outcome, step.Tokens, step.Targets, trainer.SkippedSteps));
        Assert.True(double.IsNaN(step.Loss));
        Assert.Equal(before, Weights(model));
        Assert.Equal(StepOutcome.Updated, trainer.Step().Outcome);
        Assert.NotEqual(before, Weights(model));
    }

    [Fact]
    public void Evaluation_is_over_trained_targets_and_their_bytes()
    {
        using TokenStore store = Create([(5, 3), (9, 1), (1, 6)]);
        SequencePlan plan = SequencePlan.ForEvaluation(store, 16);
        using Gpt2Model model = Model();
        EvaluationResult result = new Evaluator(model, Corpus.Tokenizer).Run(store, plan, 64);
        using TensorScope scope = TensorScope.Begin();
        double sum = 0;
        foreach (PackedBatch batch in EvaluationBatches.Read(store, plan, 16))
            using (batch) sum += model.LossSum(batch).Item();
        // The last of each is the end of text.
        Assert.Equal((10, 7, 3), (result.Tokens, result.Bytes, result.Documents));
        Assert.Equal(sum / 10, result.Loss, 12);
        Assert.Equal(sum / Math.Log(2) / 7, result.BitsPerByte, 12);
    }

    private static Gpt2Model Model()
    {
        Gpt2Model model = Corpus.Model(16);
        model.To(Device.Cpu, DType.Float64);
        return model;
    }

    private static PackedLoader Loader(TokenStore store, SequencePlan plan, int batchTokens) => new(store, plan, new LoaderOptions { BatchTokens = batchTokens });

    private static double[] Weights(Gpt2Model model) => [.. model.StateDict().Values.SelectMany(tensor => tensor.ToArray<double>())];

    private TokenStore Examples(int seed)
    {
        var random = new Random(seed);
        return Create(Enumerable.Range(0, 60).Select(_ => (random.Next(1, 12), random.Next(1, 6))));
    }

    private List<long> FirstCounts(int seed, int batches)
    {
        using TokenStore store = Examples(seed);
        using PackedLoader loader = Loader(store, SequencePlan.Create(store, 16, 1), 24);
        var counts = new List<long>();
        while (counts.Count < batches)
        {
            using PackedBatch batch = loader.Next();
            counts.Add(batch.TargetCount);
        }
        return counts;
    }

    /// <summary>Examples with so many tokens that are only read and so many that are trained, an end among them.</summary>
    private TokenStore Create(IEnumerable<(int Read, int Trained)> examples)
    {
        string path = _folder[Path.GetRandomFileName()];
        using (var writer = new TokenStoreWriter(path, 257, new('0', 64)))
        {
            foreach ((int read, int trained) in examples)
            {
                int first = writer.DocumentCount;
                writer.Append([.. Enumerable.Range(0, read).Select(i => (first * 31 + i * 7) % 256)], trained: false);
                writer.Append([.. Enumerable.Range(0, trained - 1).Select(i => (first * 17 + i * 5) % 256), 256]);
                writer.EndDocument();
            }
            writer.Complete();
        }
        return TokenStore.Open(path);
    }
}
