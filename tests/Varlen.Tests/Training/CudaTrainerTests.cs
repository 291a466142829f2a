using Varlen.Backends.Cuda;
using Varlen.Data;
using Varlen.Generation;
using Varlen.Models;
using Varlen.Nn;
using Varlen.Training;
using Xunit;

namespace Varlen.Tests.Training;

public sealed class CudaTrainerTests
{
    private static readonly TrainerOptions Fast = new() { Steps = 400, LearningRate = 1e-2, WarmupSteps = 2 };

    // Enough to see what a step leaves behind; an emulated step takes a second.
    private static int Steps => TestDevices.IsSlow ? 8 : 300;

    [Theory]
    [InlineData(DType.Float32, 0)]
    [InlineData(DType.BFloat16, 0.1)]
    public void AStepDoesNotWaitAndLeavesNothingBehind(DType dtype, double dropout)
    {
        Device device = TestDevices.Cuda();
        var backend = (CudaBackend)device.Backend;
        using var corpus = new Corpus(16, Corpus.Patterns(30, 1));
        using CausalLanguageModel model = Corpus.Model(16, dropout: dropout).To(device, dtype);
        using var loader = new PackedLoader(corpus.Store, corpus.Plan, new LoaderOptions { BatchTokens = 64 }, device);
        using var trainer = new Trainer(model, loader, Fast with { MicroBatches = 2 });
        for (int i = 0; i < 4; i++) trainer.Step();
        var live = new HashSet<(long, long)>();
        long waits = 0;
        for (int i = 0; i < Steps; i++)
        {
            long before = backend.Waits;
            trainer.Begin();
            waits += backend.Waits - before;
            if (trainer.Started > 2) trainer.Complete();
            live.Add((MemoryDiagnostics.LiveBytes, MemoryDiagnostics.LiveCount));
        }
        while (trainer.Started > 0) trainer.Complete();
        Assert.Equal(0, waits);
        Assert.Single(live);
    }

    /// <summary>In single precision the GPU learns what the CPU learns, up to rounding.</summary>
    [Theory]
    [InlineData(1, 0)]
    [InlineData(2, 0.1)]
    public void StepsAreThoseOfTheCpu(int microBatches, double dropout)
    {
        Device device = TestDevices.Cuda();
        using var corpus = new Corpus(16, Corpus.Patterns(30, 2));
        TrainingStep[] cpu = Train(Device.Cpu), cuda = Train(device);
        for (int i = 0; i < cpu.Length; i++)
        {
            Assert.Equal(cpu[i].Loss, cuda[i].Loss, 4);
            Assert.True(Math.Abs(cpu[i].GradientNorm - cuda[i].GradientNorm) <= 1e-3 * cpu[i].GradientNorm, $"step {i + 1}: norm {cpu[i].GradientNorm} and {cuda[i].GradientNorm}");
            Assert.Equal((cpu[i].Step, cpu[i].Tokens, cpu[i].Targets, cpu[i].Outcome), (cuda[i].Step, cuda[i].Tokens, cuda[i].Targets, cuda[i].Outcome));
        }

        TrainingStep[] Train(Device device)
        {
            using CausalLanguageModel model = Corpus.Model(16, dropout: dropout).To(device, DType.Float32);
            using var loader = new PackedLoader(corpus.Store, corpus.Plan, new LoaderOptions { BatchTokens = 48 }, device);
            using var trainer = new Trainer(model, loader, Fast with { MicroBatches = microBatches });
            return [.. Enumerable.Range(0, 4).Select(_ => trainer.Step())];
        }
    }

    /// <summary>Recording changes nothing but the padding: the same batches, the same dropout, the same updates.</summary>
    [Theory]
    [MemberData(nameof(TestDevices.All), MemberType = typeof(TestDevices))]
    public void CapturedStepsAreThoseOfTheOthers(string name)
    {
        Device device = TestDevices.Get(name);
        using var corpus = new Corpus(16, Corpus.Patterns(30, 2));
        (TrainingStep[] plain, double plainLoss) = Train(capture: false);
        (TrainingStep[] captured, double capturedLoss) = Train(capture: true);
        for (int i = 0; i < plain.Length; i++)
        {
            Assert.Equal(plain[i].Loss, captured[i].Loss, 4);
            Assert.True(Math.Abs(plain[i].GradientNorm - captured[i].GradientNorm) <= 1e-3 * plain[i].GradientNorm, $"step {i + 1}: norm {plain[i].GradientNorm} and {captured[i].GradientNorm}");
            Assert.Equal((plain[i].Step, plain[i].Tokens, plain[i].Targets, plain[i].Outcome), (captured[i].Step, captured[i].Tokens, captured[i].Targets, captured[i].Outcome));
        }
        Assert.Equal(plainLoss, capturedLoss, 4);

        (TrainingStep[], double) Train(bool capture)
        {
            using CausalLanguageModel model = Corpus.Model(16, dropout: 0.1).To(device, DType.Float32);
            using var loader = new PackedLoader(corpus.Store, corpus.Plan, new LoaderOptions { BatchTokens = 48 }, capture ? Device.Cpu : device);
            using var trainer = new Trainer(model, loader, Fast with { MicroBatches = 2, Capture = capture });
            TrainingStep[] steps = [.. Enumerable.Range(0, 6).Select(_ => trainer.Step())];
            return (steps, new Evaluator(model, Corpus.Tokenizer) { Capture = capture }.Run(corpus.Store, corpus.Plan, 20).Loss);
        }
    }

    [Fact]
    public void NonFiniteStepsAreSkippedOnTheDeviceAndCountedLate()
    {
        Device device = TestDevices.Cuda();
        using var corpus = new Corpus(16, Corpus.Patterns(30, 4));
        using CausalLanguageModel model = Corpus.Model(16).To(device, DType.Float32);
        using var loader = new PackedLoader(corpus.Store, corpus.Plan, new LoaderOptions { BatchTokens = 64 }, device);
        using var trainer = new Trainer(model, loader, Fast);
        Assert.Equal(StepOutcome.Updated, trainer.Step().Outcome);
        Parameter poisoned = model.Parameters().First(parameter => parameter.Shape.Rank == 1);
        float[] good = poisoned.Master.ToArray<float>();
        poisoned.Load(Tensor.From([.. good.Select((value, i) => i == 0 ? float.NaN : value)], poisoned.Shape));
        float[] before = Weights(model);
        for (int i = 0; i < 3; i++) trainer.Begin();
        Assert.Equal(before, Weights(model));
        Assert.Equal(StepOutcome.NotFinite, trainer.Complete().Outcome);
        Assert.Equal(StepOutcome.NotFinite, trainer.Complete().Outcome);
        var failure = Assert.Throws<TrainingDivergedException>(() => trainer.Complete());
        Assert.Equal(4, failure.Step);
        Assert.Equal(3, trainer.SkippedSteps);
        Assert.Contains(model.NamedParameters().Select(entry => entry.Key), key => failure.Message.Contains(key, StringComparison.Ordinal));
    }

    /// <summary>The gradients can be finite where the loss is not: it alone must stop the update, on both kinds of devices.</summary>
    [Theory]
    [MemberData(nameof(TestDevices.All), MemberType = typeof(TestDevices))]
    public void ALossThatIsNotFiniteStopsTheUpdate(string name)
    {
        Device device = TestDevices.Get(name);
        using TensorScope scope = TensorScope.Begin();
        using var parameter = new Parameter(Tensor.Ones([3], DType.Float32, device));
        using var optimizer = new Varlen.Optim.Sgd((Parameter[])[parameter], 1);
        using var state = new Varlen.Optim.StepState(device);
        foreach ((float loss, bool updates) in new[] { (2f, true), (float.PositiveInfinity, false), (float.NaN, false), (3f, true) })
        {
            float[] before = parameter.Master.ToArray<float>();
            state.Begin(1, 1);
            optimizer.ZeroGrad();
            ((Tensor)parameter!).Sum().Backward();
            state.AddLoss(Tensor.From([loss], [], device));
            state.AddLoss(Tensor.From([1f], [], device));
            Varlen.Optim.GradientClipping.Apply(optimizer.Parameters, null, state);
            optimizer.Step(state);
            Assert.Equal(updates, state.ReadFinite());
            Assert.Equal(updates ? before.Select(value => value - 1) : before, parameter.Master.ToArray<float>());
        }
    }

    [Fact]
    public void WhatTheGpuLearnedGeneratesAndEvaluatesOnBoth()
    {
        Device device = TestDevices.Cuda();
        using var corpus = new Corpus(16, Corpus.Patterns(40, 1));
        using CausalLanguageModel model = Corpus.Model(16).To(device, DType.BFloat16);
        using var loader = new PackedLoader(corpus.Store, corpus.Plan, new LoaderOptions { BatchTokens = 64 }, device);
        using (var trainer = new Trainer(model, loader, Fast))
            for (int i = 0; i < (TestDevices.IsSlow ? 12 : 150); i++) trainer.Step();
        EvaluationResult cuda = new Evaluator(model, Corpus.Tokenizer).Run(corpus.Store, corpus.Plan, 64);
        int[] there = Write(model);
        model.To(Device.Cpu, DType.Float32);
        EvaluationResult cpu = new Evaluator(model, Corpus.Tokenizer).Run(corpus.Store, corpus.Plan, 64);
        Assert.Equal((cpu.Tokens, cpu.Bytes, cpu.Documents), (cuda.Tokens, cuda.Bytes, cuda.Documents));
        Assert.Equal(cpu.Loss, cuda.Loss, 0.02);
        Assert.Equal(6, there.Length);
        if (!TestDevices.IsEmulated) Assert.Equal(Write(model), there);
    }

    private static int[] Write(CausalLanguageModel model) => [.. new TextGenerator(model, Corpus.Tokenizer.EndOfText).Generate(Corpus.Tokenizer.Encode("ab"), new GenerationOptions { MaxTokens = 6, Temperature = 0 })];

    private static float[] Weights(CausalLanguageModel model) => [.. model.StateDict().Values.SelectMany(tensor => tensor.ToArray<float>())];
}
