using Varlen.Backends.Cuda;
using Varlen.Data;
using Varlen.Models;
using Varlen.Ops;
using Varlen.Optim;
using Varlen.Training;
using Xunit;

namespace Varlen.Tests.Training;

/// <summary>A step that was recorded once gives for every batch what the same padded step gives, bit for bit.</summary>
public sealed class CapturedStepTests
{
    private const int Vocabulary = 40;

    // Batches of a run: empty, one token, many short ones, one at exactly the budget.
    private static readonly int[][] Lengths = [[5, 17, 3], [1], [48], [2, 1, 1, 9, 4, 0, 1, 7], [33, 15], [], [20, 20], [40], [16, 16, 16], [1, 1]];
    private static readonly BatchLimits Limits = new(48, 8);

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    public void EvaluationsAreThoseOfThePaddedStepAndOfTheBatchAlone(DType dtype)
    {
        Device device = TestDevices.Cuda();
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

    private static double[] Evaluate(CausalLanguageModel model, bool captures)
    {
        using var region = GradMode.NoGrad();
        using Tensor loss = Tensor.Zeros([], DType.Float64, model.Device).Keep();
        using var step = new CapturedStep(model, Limits, batches =>
        {
            using TensorScope scope = TensorScope.Begin();
            ElementwiseCopy.Copy(model.LossSum(batches[0]), loss, accumulate: false);
        }, 1, captures);
        var losses = new double[Lengths.Length];
        for (int i = 0; i < losses.Length; i++)
        {
            // From the host and from the device.
            using PackedBatch batch = Batch(i, i % 2 == 0 ? Device.Cpu : model.Device);
            step.Run(batch);
            losses[i] = loss.Item();
        }
        Assert.Equal(captures, step.IsRecorded);
        return losses;
    }

    private static Decoder Model(int headDim, double dropout = 0) => new(
        new DecoderConfig { VocabularySize = Vocabulary, MaxLength = 64, Width = headDim, Heads = 1, Layers = 2, Dropout = dropout, FinalNorm = true, HeadBias = true, TiedHead = false }, seed: 3);

    private static PackedBatch Batch(int index, Device device)
    {
        var random = new Random(100 + index);
        return PackedBatch.Create([.. Lengths[index % Lengths.Length].Select(length =>
        {
            int[] ids = [.. Enumerable.Range(0, length + 1).Select(_ => random.Next(Vocabulary))];
            return new TokenSequence(ids.AsMemory(0, length), ids.AsMemory(1));
        })], device);
    }
}
