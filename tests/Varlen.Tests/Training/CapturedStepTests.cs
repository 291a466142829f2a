using Varlen.Backends.Cuda;
using Varlen.Data;
using Varlen.Models;
using Varlen.Nn;
using Varlen.Ops;
using Varlen.Optim;
using Varlen.Training;
using Xunit;

namespace Varlen.Tests.Training;

/// <summary>A step that was recorded once gives for every batch what the same padded step gives, bit for bit.</summary>
public sealed class CapturedStepTests
{
    private const int Vocabulary = 40;

    // Many short sequences, one token, exactly the budget, empty sequences, none at all.
    private static readonly int[][] Lengths = [[5, 17, 3], [1], [48], [2, 1, 1, 9, 4, 0, 1, 7], [33, 15], [], [20, 20], [16, 16, 16], [1, 1], [40]];
    private static readonly BatchLimits Limits = new(48, 8);

    [Theory]
    [MemberData(nameof(TestDevices.All), MemberType = typeof(TestDevices))]
    public void EvaluationsAreThoseOfThePaddedStepAndOfEachBatchAlone(string name)
    {
        Device device = TestDevices.Get(name);
        foreach (DType dtype in (DType[])[DType.Float32, DType.BFloat16])
        {
            using CausalLanguageModel model = Model(64).To(device, dtype);
            model.Eval();
            double[] captured = Evaluate(model, captures: true), padded = Evaluate(model, captures: false);
            Assert.Equal(padded, captured);
            using var region = GradMode.NoGrad();
            for (int i = 0; i < Lengths.Length; i++)
            {
                using TensorScope scope = TensorScope.Begin();
                using PackedBatch batch = Batch(i, device);
                Assert.Equal(model.LossSum(batch).Item(), captured[i], dtype == DType.Float32 ? 1e-3 : 1);
            }
        }
    }

    /// <summary>Every strategy whose attention is layouts, with full attention and causal: padding within rows, and rows that differ in length.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void OtherKindsOfBatchesAreCapturedToo(bool causal)
    {
        Device device = TestDevices.Cuda();
        using CausalLanguageModel model = Model(64, dropout: 0.2, causal: causal).To(device, DType.BFloat16);
        using StepState state = model.StepState = new StepState(device, 5);
        using var region = GradMode.NoGrad();
        foreach (Func<IReadOnlyList<TokenSequence>, TokenBatch> collate in (Func<IReadOnlyList<TokenSequence>, TokenBatch>[])
            [sequences => JaggedBatch.Create(sequences, device), sequences => BlockDiagonalBatch.Create(sequences, device), sequences => PaddedBatch.Create(sequences, 48, device), sequences => PaddedBatch.Create(sequences, null, Device.Cpu)])
        {
            using Tensor loss = Tensor.Zeros([], DType.Float64, device).Keep();
            using var step = new CapturedStep(model, new BatchLimits(8 * 48, 8), batches => Evaluate(model, batches[0], loss));
            for (int i = 0; i < 6; i++)
            {
                using TensorScope scope = TensorScope.Begin();
                using TokenBatch batch = collate(Sequences(Lengths[i]));
                step.Run(batch);
                double captured = loss.Item();
                using TokenBatch here = batch.Tokens.Device == device ? collate(Sequences(Lengths[i])) : PaddedBatch.Create(Sequences(Lengths[i]), null, device);
                Assert.Equal(model.LossSum(here).Item(), captured, 1.0);
            }
            Assert.True(step.IsRecorded);
        }
    }

    /// <summary>Losses, weights and optimiser state, with dropout, clipping, accumulation and a step that is skipped because of a NaN.</summary>
    [Theory]
    [InlineData(OptimizerKind.AdamW, DType.Float32, 16, 0.2, 2)]
    [InlineData(OptimizerKind.Sgd, DType.BFloat16, 16, 0.2, 1)]
    [InlineData(OptimizerKind.AdamW, DType.BFloat16, 64, 0, 1)]
    [InlineData(OptimizerKind.AdamW, DType.Float32, 16, 0, 1, true)]
    public void TrainingStepsAreThoseOfThePaddedStep(OptimizerKind kind, DType dtype, int headDim, double dropout, int microBatches, bool llama = false)
    {
        Device device = TestDevices.Cuda();
        // The fastest backward kernels add up in any order there.
        Assert.SkipWhen(headDim == 64 && !TestDevices.IsEmulated, "a GPU's attention gradients at this head dim are not the same bits twice");
        (List<double> captured, float[] weights) = Train(captures: true);
        (List<double> padded, float[] expected) = Train(captures: false);
        Assert.Equal(padded, captured);
        Assert.Equal(expected, weights);
        Assert.Contains(captured, double.IsNaN);
        Assert.DoesNotContain(weights, float.IsNaN);

        (List<double> Numbers, float[] Weights) Train(bool captures)
        {
            using CausalLanguageModel model = (llama ? (CausalLanguageModel)Llama() : Model(headDim, dropout)).To(device, dtype);
            using StepState state = model.StepState = new StepState(device, seed: 7);
            using Optimizer optimizer = kind == OptimizerKind.Sgd ? new Sgd(model.NamedParameters(), 0.1, new SgdOptions { Momentum = 0.9 }) : new AdamW(model.NamedParameters(), 1e-2);
            using var step = new CapturedStep(model, Limits, batches => Compute(model, state, optimizer, batches), microBatches, captures);
            Parameter poisoned = model.Parameters()[^1];
            List<double> numbers = [];
            for (int i = 0; i < 10; i++)
            {
                float[] good = poisoned.Master.ToArray<float>();
                // Replays read what is there, and leave everything as it was.
                if (i == 6) Load(poisoned, [.. good.Select(_ => float.NaN)]);
                PackedBatch[] batches = [.. Enumerable.Range(0, microBatches).Select(n => Batch((i * microBatches) + n, i % 2 == 0 ? Device.Cpu : device))];
                state.Begin(i + 1, 1e-2 / (i + 1), 1.0 / Math.Max(1, batches.Sum(batch => batch.TargetCount)));
                step.Run(batches);
                foreach (PackedBatch batch in batches) batch.Dispose();
                StepState.Values values = StepState.Finish(state.StartRead());
                numbers.AddRange(values.LossSum, values.GradientNorm, values.ClipFactor, values.Finite);
                if (i == 6) Load(poisoned, good);
                // Tables of other gradients, more than are kept, drive out those that no graph reads.
                if (i < 4) GradientClipping.FindNonFinite(model.NamedParameters());
            }
            Assert.Equal(captures, step.IsRecorded);
            using TensorScope scope = TensorScope.Begin();
            return (numbers, [.. model.StateDict().Concat(optimizer.StateDict()).SelectMany(entry => entry.Value.To(Device.Cpu).ToArray<float>())]);
        }
    }

    [Fact]
    public void AReplayIsOneLaunchWithoutAWaitAndLeavesNothingBehind()
    {
        Device device = TestDevices.Cuda();
        var backend = (CudaBackend)device.Backend;
        using CausalLanguageModel model = Model(16).To(device, DType.Float32);
        using var state = new StepState(device);
        using var optimizer = new Sgd(model.NamedParameters(), 0.1);
        // What any step makes and keeps: gradients, tables, room for matrix products.
        using (PackedBatch whole = Batch(2, device))
        {
            state.Begin(1, 0.1);
            Compute(model, state, optimizer, [whole]);
        }
        device.Synchronize();
        long used = backend.Pool.UsedBytes, inUse;
        using (var step = new CapturedStep(model, Limits, batches => Compute(model, state, optimizer, batches)))
        {
            var live = new HashSet<(long, long, long)>();
            for (int i = 0; i < 8; i++)
            {
                PackedBatch batch = Batch(i, Device.Cpu);
                state.Begin(i + 1, 0.1);
                (long waits, int launches, int version) = (backend.Waits, backend.LaunchCount, model.Parameters()[0].Version);
                step.Run(batch);
                batch.Dispose();
                Assert.Equal(waits, backend.Waits);
                Assert.Equal(version + 1, model.Parameters()[0].Version);
                if (i < 3) continue;
                Assert.Equal(1, backend.LaunchCount - launches);
                live.Add((MemoryDiagnostics.LiveBytes, MemoryDiagnostics.LiveCount, backend.Pool.UsedBytes));
            }
            Assert.Single(live);
            inUse = backend.Pool.UsedBytes;
        }
        // Its buffers, lists and memory are given back.
        device.Synchronize();
        Assert.True(inUse > used);
        Assert.InRange(backend.Pool.UsedBytes - used, 0, 16384);
    }

    [Theory]
    [MemberData(nameof(TestDevices.All), MemberType = typeof(TestDevices))]
    public void WhatDoesNotFitIsRefusedByNameAndNothingRuns(string name)
    {
        Device device = TestDevices.Get(name);
        using CausalLanguageModel model = Model(16).To(device, DType.Float32);
        int runs = 0;
        using var step = new CapturedStep(model, Limits with { Sequences = 3 }, _ => runs++);
        using PackedBatch fits = Batch(0, device), tooMany = Batch(3, device), tooLong = Packed(device, 49), unknown = PackedBatch.Create([new TokenSequence(new[] { Vocabulary }, new[] { 0 })], device);
        TokenSequence[] one = [new(new[] { 1 }, new[] { 2 })];
        using var masked = DocumentMaskBatch.Create(one, device);
        using var unpadded = PaddedBatch.CreateUnpadded(one, 4, device);
        using var padded = PaddedBatch.Create(one, 4, device);
        Refused<ArgumentException>("has 49 rows, and the step was captured for at most 48", tooLong);
        Refused<ArgumentException>("has 8 sequences, and the step was captured for at most 3", tooMany);
        Refused<ArgumentException>("does not take the attention of a DocumentMaskBatch (DocumentMaskAttention)", masked);
        Refused<ArgumentException>("does not take the attention of a PaddedBatch (UnpaddedAttention)", unpadded);
        Refused<ArgumentOutOfRangeException>($"the id {Vocabulary}", unknown);
        Refused<ArgumentException>("2 batches were given, and the step takes 1", fits, fits);
        Assert.Equal(0, runs);
        step.Run(fits);
        Assert.Equal(1, runs);
        Refused<ArgumentException>("the batch is a PaddedBatch, and the step was captured with a PackedBatch", padded);
        Assert.Throws<ArgumentOutOfRangeException>(() => new CapturedStep(model, new BatchLimits(0, 1), _ => { }));
        Assert.Throws<ArgumentOutOfRangeException>(() => new CapturedStep(model, new BatchLimits(1, 0), _ => { }));

        void Refused<T>(string message, params TokenBatch[] batches) where T : Exception
            => Assert.Contains(message, Assert.ThrowsAny<T>(() => step.Run(batches)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void WhatCannotBeRecordedIsNamedAndTheDeviceGoesOn()
    {
        Device device = TestDevices.Cuda();
        using var region = GradMode.NoGrad();
        using CausalLanguageModel model = Model(16).To(device, DType.Float32);
        using Tensor kept = Tensor.Zeros([], DType.Float32, device).Keep();
        List<Tensor> left = [];
        Fails("it reads values back and waits for them, in or behind Copy", batch => model.LossSum(batch).Item());
        Fails("it waits for the device", _ => device.Synchronize());
        Fails("it sends numbers of the host, which a replay would send again, in or behind ", batch => model.LastLogits(batch));
        Fails("it reads values back", batch => device.Backend.StartRead(kept.Pointer, sizeof(float)));
        Fails("leaves 1 tensors of 256 bytes behind", batch => left.Add(model.LossSum(batch).Keep()));
        foreach (Tensor tensor in left) tensor.Dispose();
        // A tensor that was there before is the way.
        Assert.Equal(5, Tensor.Full([1], 5, device: device).Item());

        void Fails(string message, Action<TokenBatch> act)
        {
            using var step = new CapturedStep(model, Limits, batches =>
            {
                using TensorScope scope = TensorScope.Begin();
                act(batches[0]);
            });
            var failure = Assert.Throws<NotSupportedException>(() =>
            {
                using PackedBatch batch = Packed(device, 7);
                for (int i = 0; i < 3; i++) step.Run(batch);
            });
            Assert.Contains("the step cannot be recorded: ", failure.Message, StringComparison.Ordinal);
            Assert.Contains(message, failure.Message, StringComparison.Ordinal);
            Assert.False(step.IsRecorded);
        }
    }

    [Fact]
    public void AModelThatChangesIsRecordedAnewAndOneThatMovesIsRefused()
    {
        Device device = TestDevices.Cuda();
        using CausalLanguageModel model = Model(16, dropout: 0.5).To(device, DType.Float32);
        using StepState state = model.StepState = new StepState(device, 1);
        using Tensor loss = Tensor.Zeros([], DType.Float64, device).Keep();
        using var region = GradMode.NoGrad();
        using var step = new CapturedStep(model, Limits, batches => Evaluate(model, batches[0], loss));
        Changes(() => { });
        Changes(() => model.Eval());
        Changes(() => model.To(device, DType.BFloat16));
        model.To(Device.Cpu, DType.Float32);
        using PackedBatch left = Batch(0, Device.Cpu);
        Assert.Contains("the model has moved to cpu", Assert.Throws<InvalidOperationException>(() => step.Run(left)).Message, StringComparison.Ordinal);

        void Changes(Action change)
        {
            change();
            for (int i = 0; i < 4; i++)
            {
                using PackedBatch batch = Batch(i, device);
                using TensorScope scope = TensorScope.Begin();
                step.Run(batch);
                Assert.Equal(i > 1, step.IsRecorded);
                Assert.Equal(model.LossSum(batch).Item(), loss.Item(), model.Parameters()[0].Value.DType == DType.Float32 ? 1e-3 : 1);
            }
        }
    }

    private static double[] Evaluate(CausalLanguageModel model, bool captures)
    {
        using var region = GradMode.NoGrad();
        using Tensor loss = Tensor.Zeros([], DType.Float64, model.Device).Keep();
        using var step = new CapturedStep(model, Limits, batches => Evaluate(model, batches[0], loss), 1, captures);
        var losses = new double[Lengths.Length];
        for (int i = 0; i < losses.Length; i++)
        {
            // From the host and from the device.
            using PackedBatch batch = Batch(i, i % 2 == 0 ? Device.Cpu : model.Device);
            step.Run(batch);
            losses[i] = loss.Item();
        }
        Assert.Equal(captures && model.Device != Device.Cpu, step.IsRecorded);
        return losses;
    }

    private static void Evaluate(CausalLanguageModel model, TokenBatch batch, Tensor loss)
    {
        using TensorScope scope = TensorScope.Begin();
        ElementwiseCopy.Copy(model.LossSum(batch), loss, accumulate: false);
    }

    private static void Compute(CausalLanguageModel model, StepState state, Optimizer optimizer, IReadOnlyList<TokenBatch> batches)
    {
        optimizer.ZeroGrad();
        foreach (TokenBatch batch in batches)
        {
            using TensorScope scope = TensorScope.Begin();
            Tensor loss = model.LossSum(batch);
            loss.Backward(state.LossGradient);
            state.AddLoss(loss);
        }
        GradientClipping.Apply(optimizer.Parameters, 0.5, state);
        optimizer.Step(state);
    }

    private static Decoder Model(int headDim, double dropout = 0, bool causal = true) => new(
        new DecoderConfig { Causal = causal, VocabularySize = Vocabulary, MaxLength = 64, Width = headDim, Heads = 1, Layers = 2, Dropout = dropout, FinalNorm = true }, seed: 3);

    // Rotary positions, shared keys, and layers with and without a window.
    private static LlamaModel Llama() => new(
        new LlamaConfig
        {
            Family = LlamaFamily.Qwen2, VocabularySize = Vocabulary, MaxLength = 64, Width = 32, Inner = 48, Layers = 2, Heads = 2, KeyValueHeads = 1, SlidingWindow = 6, SlidingLayers = [false, true],
        }, seed: 4);

    private static PackedBatch Batch(int index, Device device) => Packed(device, Lengths[index % Lengths.Length]);

    private static PackedBatch Packed(Device device, params int[] lengths) => PackedBatch.Create(Sequences(lengths), device);

    private static TokenSequence[] Sequences(int[] lengths)
    {
        var random = new Random(lengths.Sum());
        return
        [
            .. lengths.Select(length =>
            {
                int[] ids = [.. Enumerable.Range(0, length + 1).Select(_ => random.Next(Vocabulary))];
                return new TokenSequence(ids.AsMemory(0, length), ids.AsMemory(1));
            }),
        ];
    }

    private static void Load(Parameter parameter, float[] values)
    {
        using Tensor tensor = Tensor.From(values, parameter.Shape);
        parameter.Load(tensor);
    }
}
