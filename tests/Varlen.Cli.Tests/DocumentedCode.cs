using System.Text.Json.Nodes;
using Varlen.Auditing;
using Varlen.Checkpoints;
using Varlen.Data;
using Varlen.Models;
using Varlen.Optim;
using Varlen.Training;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Cli.Tests;

/// <summary>C# that the documents show and no sample holds. It stands here word for word, and it runs.</summary>
public sealed class DocumentedCode
{
    private static readonly ReadOnlyMemory<int> document1 = new[] { 1, 2, 3, 4, 0 }, document2 = new[] { 5, 6, 0 };

    private static Decoder SmallModel() => new(new DecoderConfig { VocabularySize = 8, MaxLength = 8, Width = 16, Heads = 2, Layers = 1 }, seed: 1);

    private static PackedBatch SmallBatch() => PackedBatch.Create([.. TokenSequence.Cut(document1, 8), .. TokenSequence.Cut(document2, 8)]);

    [Fact]
    public void AStepInAScope()
    {
        using Decoder model = SmallModel();
        using var optimizer = new AdamW(model.Parameters());
        using PackedBatch batch = SmallBatch();
        float[] before = model.Parameters()[0].Master.ToArray<float>();
        using (TensorScope.Begin())
        {
            Tensor loss = model.LossSum(batch);
            loss.Backward();
            optimizer.Step();
        }   // every tensor made since Begin is released here
        Assert.NotEqual(before, model.Parameters()[0].Master.ToArray<float>());
    }

    [Fact]
    public void AStepWithItsNumbers()
    {
        using Decoder model = SmallModel();
        using var optimizer = new AdamW(model.Parameters());
        using var state = new StepState(seed: 1);
        using PackedBatch batch = SmallBatch();
        double learningRate = 1e-2, first = Loss(model, batch);
        for (int step = 1; step <= 20; step++)
        {
            state.Begin(step, learningRate, lossScale: 1.0 / batch.TargetCount);
            optimizer.ZeroGrad();
            using (TensorScope.Begin())
            {
                model.LossSum(batch).Backward(state.LossGradient);        // a sum, scaled once by 1 / targets
                GradientClipping.Apply(optimizer.Parameters, maxNorm: 1, state);
                optimizer.Step(state);
            }
        }
        Assert.True(Loss(model, batch) < first / 2, $"from {first} to {Loss(model, batch)}");
    }

    [Fact]
    public void AuditOfAModel()
    {
        using Decoder model = SmallModel();
        IReadOnlyList<TokenSequence> documents = [.. TokenSequence.Cut(document1, 8), .. TokenSequence.Cut(document2, 8)];
        foreach (AuditCheck check in new ModelAudit(model, documents).Run())
            Assert.True(check.Outcome != AuditOutcome.Fails, $"{check.Claim}: {check.Detail}");
    }

    [Fact]
    public void AuditOfALoader()
    {
        using TemporaryFolder folder = Documents.Workplace();
        TextCorpus.Tokenize([folder.File("texts")], new Text.ByteTokenizer(), folder.File("tokens.bin"));
        using TokenStore store = TokenStore.Open(folder.File("tokens.bin"));
        SequencePlan plan = SequencePlan.Create(store, context: 32, seed: 1);
        using var loader = new PackedLoader(store, plan, new LoaderOptions { BatchTokens = 64 });
        foreach (AuditCheck check in new DataAudit(store, plan).Epoch("my loader", DataAudit.Epoch(loader), EvaluationBatches.Read(store, plan, batchTokens: 64)))
            Assert.True(check.Outcome == AuditOutcome.Holds, $"{check.Claim}: {check.Detail}");
    }

    [Fact]
    public void AStepThatIsRecorded()
    {
        using Decoder model = SmallModel();
        using var optimizer = new AdamW(model.Parameters());
        using var state = new StepState(seed: 1);
        using PackedBatch batch1 = SmallBatch(), batch2 = PackedBatch.Create([.. TokenSequence.Cut(document2, 8)]);
        PackedBatch[] epoch = [batch1, batch2, batch1, batch1, batch2];
        double learningRate = 1e-2, first = Loss(model, batch1);
        int number = 0;
        using var step = new CapturedStep(model, new BatchLimits(Tokens: 4096, Sequences: 64), batches =>
        {
            optimizer.ZeroGrad();
            using (TensorScope.Begin()) model.LossSum(batches[0]).Backward(state.LossGradient);
            optimizer.Step(state);
        });
        foreach (PackedBatch batch in epoch)
        {
            state.Begin(++number, learningRate, lossScale: 1.0 / batch.TargetCount);      // what changes from step to step stays outside
            step.Run(batch);
        }
        Assert.True(Loss(model, batch1) < first, $"from {first} to {Loss(model, batch1)}");
    }

    [Fact]
    public void FlattenedSamples()
    {
        using Decoder model = SmallModel();
        using PackedBatch batch = new DataCollatorWithFlattening().Collate([document1, document2]).ToBatch();
        using (TensorScope.Begin())
        {
            Tensor loss = model.LossSum(batch) / batch.TargetCount;
            loss.Backward();
        }
        using PackedBatch cut = SmallBatch();
        Assert.Equal(cut.TargetCount, batch.TargetCount);
        Assert.Equal(Loss(model, cut), Loss(model, batch), 1e-5);
        Assert.NotNull(model.Parameters()[0].Grad);
    }

    [Fact]
    public void WindowsOfMasksAndOptions()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor q = Tensor.Randn([15, 2, 8], seed: 1), k = Tensor.Randn([15, 2, 8], seed: 2), v = Tensor.Randn([15, 2, 8], seed: 3);

        using BlockDiagonalMask mask = BlockDiagonalMask.FromSeqlens([5, 3, 7]).MakeLocalAttention(4);       // the token and 3 before it
        Tensor y = F.MemoryEfficientAttention(q, k, v, mask);

        using var layout = SequenceLayout.FromLengths([5, 3, 7]);
        Tensor same = F.VarlenAttention(q, k, v, layout, layout, new AttentionOptions { Window = new(left: 3, right: 0), Alignment = AttentionAlignment.TopLeft });

        Assert.Equal(same.ToArray<float>(), y.ToArray<float>());
        Assert.NotEqual(F.VarlenAttention(q, k, v, layout, AttentionWindow.Causal).ToArray<float>(), y.ToArray<float>());
    }

    [Fact]
    public void CheckpointsOfOnesOwn()
    {
        using var place = new TemporaryFolder();
        using Decoder model = SmallModel();
        using var optimizer = new AdamW(model.Parameters());
        (long step, int seed, string path) = (7, 1, place.File("run/checkpoints"));
        var checkpoints = new CheckpointFolder(path, Console.Error.WriteLine);
        checkpoints.Save(step, writer =>
        {
            writer.WriteTensors("model.safetensors", model.StateDict());
            writer.WriteTensors("optimizer.safetensors", optimizer.StateDict());
            writer.WriteJson("trainer.json", new JsonObject { ["step"] = step, ["seed"] = seed });
        });

        using Checkpoint? newest = checkpoints.OpenNewest();      // null: there is none yet
        if (newest is not null) model.LoadStateDict(newest.ReadTensors("model.safetensors"));

        Assert.Equal([step], checkpoints.List());
        Assert.NotNull(newest);
    }

    [Fact]
    public void ARunInAFolder()
    {
        using var place = new TemporaryFolder();
        string texts = place.Write("texts.txt", string.Concat(Enumerable.Repeat("a line of text\n", 40))), path = Directory.CreateDirectory(place.File("run")).FullName;
        int steps = 2;
        var folder = new RunFolder(path);
        using RunLock runLock = RunLock.Acquire(folder.Path);
        if (!folder.Exists) RunPlanner.Prepare(folder, new RunRequest { Data = [texts], Steps = steps }, Device.Cpu);
        using var run = new TrainingRun(folder);                      // at its newest sound checkpoint
        RunResult result = run.Run();
        run.RestoreBest();
        run.Model.SavePretrained(folder.Model);

        Assert.True(result.Finished);
        Assert.True(File.Exists(Path.Combine(folder.Model, "model.safetensors")));
    }

    private static double Loss(Decoder model, PackedBatch batch)
    {
        using var region = GradMode.NoGrad();
        using TensorScope scope = TensorScope.Begin();
        return model.LossSum(batch).Item() / batch.TargetCount;
    }
}
