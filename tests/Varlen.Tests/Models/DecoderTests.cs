using Varlen.Autograd;
using Varlen.Data;
using Varlen.Models;
using Varlen.Optim;
using Xunit;

namespace Varlen.Tests.Models;

public sealed class DecoderTests
{
    private static readonly DecoderConfig Small = new() { VocabularySize = 11, MaxLength = 8, Width = 12, Heads = 3, Layers = 2 };

    private static PackedBatch Batch(params int[][] documents)
        => PackedBatch.Create([.. documents.SelectMany(ids => TokenSequence.Cut(ids, 8))]);

    /// <summary>What the destination contract promises for a block: one buffer per value, nothing added or filled on its own.</summary>
    [Fact]
    public void ABlockNeedsNoGradientCopiesAddsOrFills()
    {
        using var model = new Decoder(Small, seed: 1);
        using PackedBatch batch = Batch([1, 2, 3, 4, 5], [6, 7, 8], [9, 10]);
        using TensorScope scope = TensorScope.Begin();
        Tensor loss = model.LossSum(batch);
        GradientStatistics.Buffers = GradientStatistics.Copies = GradientStatistics.StandaloneAdds = GradientStatistics.ZeroFills = 0;
        loss.Backward();
        Assert.Equal((0, 0, 0), (GradientStatistics.Copies, GradientStatistics.StandaloneAdds, GradientStatistics.ZeroFills));
        int parameters = model.Parameters().Count;
        // Each block: the fused projection (q, k and v share it), the attended values, two norms' results, two of the network; the
        // residual stream's one buffer travels through all blocks. Then the loss.
        long activations = GradientStatistics.Buffers - parameters;
        Assert.True(activations <= 6 * Small.Layers + 3, $"{activations} gradient buffers of activations");
    }

    [Fact]
    public void PackedEqualsEachSequenceAlone()
    {
        using Decoder model = new Decoder(Small, seed: 3).To(Device.Cpu, DType.Float64);
        int[][] documents = [[1, 2, 3, 4, 5, 6, 7], [3, 4], [5, 1, 1, 10]];
        double[][] together, apart;
        double loss, sum = 0;
        using (TensorScope.Begin())
        {
            using PackedBatch batch = Batch(documents);
            Tensor value = model.LossSum(batch);
            loss = value.Item();
            value.Backward();
            together = [.. model.Parameters().Select(p => p.Grad!.ToArray<double>())];
            model.ZeroGrad();
            foreach (int[] document in documents)
            {
                using PackedBatch one = Batch(document);
                value = model.LossSum(one);
                sum += value.Item();
                value.Backward();
            }
            apart = [.. model.Parameters().Select(p => p.Grad!.ToArray<double>())];
        }
        Assert.Equal(sum, loss, 1e-10);
        for (int i = 0; i < together.Length; i++)
            for (int j = 0; j < together[i].Length; j++) Assert.Equal(apart[i][j], together[i][j], 1e-10);
    }

    /// <summary>The whole chain, from the embeddings to the loss, for some entries of every parameter.</summary>
    [Fact]
    public unsafe void GradientsMatchFiniteDifferences()
    {
        using Decoder model = new Decoder(Small, seed: 7).To(Device.Cpu, DType.Float64);
        using PackedBatch batch = Batch([1, 2, 3, 4, 5], [6, 7, 8], [9, 10]);
        using (TensorScope.Begin()) model.LossSum(batch).Backward();
        var random = new Random(1);
        foreach ((string name, Varlen.Nn.Parameter parameter) in model.NamedParameters())
        {
            double[] gradient = parameter.Grad!.ToArray<double>();
            for (int n = 0; n < 6; n++)
            {
                int i = random.Next(gradient.Length);
                double* entry = parameter.Master.Data<double>() + i;
                double value = *entry, above = Loss(entry, value + 1e-5), below = Loss(entry, value - 1e-5);
                *entry = value;
                Assert.True(Math.Abs((above - below) / 2e-5 - gradient[i]) <= 1e-6 * Math.Max(1, Math.Abs(gradient[i])), $"{name}[{i}]: {(above - below) / 2e-5:R} and {gradient[i]:R}");
            }
        }

        double Loss(double* entry, double value)
        {
            *entry = value;
            using TensorScope scope = TensorScope.Begin();
            using var region = GradMode.NoGrad();
            return model.LossSum(batch).Item();
        }
    }

    [Fact]
    public void LogitsOfADocumentAreTheSameBitsInAnyBatch()
    {
        using var model = new Decoder(Small, seed: 4);
        using TensorScope scope = TensorScope.Begin();
        using var region = GradMode.NoGrad();
        using PackedBatch alone = Batch([3, 4, 5, 6]), among = Batch([9, 9, 1], [3, 4, 5, 6], [2, 2, 2, 2, 2]);
        Numeric.AssertSameBits(model.Forward(alone), model.Forward(among).Narrow(0, 2, 3));
    }

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    public void LearnsToRepeatASequence(DType dtype)
    {
        using Decoder model = new Decoder(Small, seed: 5).To(Device.Cpu, dtype);
        using var optimizer = new AdamW(model.Parameters(), learningRate: 1e-2);
        using PackedBatch batch = Batch([1, 2, 3, 4, 5, 6, 7], [7, 5, 3, 1], [2, 4, 6, 8, 10]);
        double first = 0, last = 0;
        for (int step = 0; step < 60; step++)
        {
            using TensorScope scope = TensorScope.Begin();
            Tensor loss = model.LossSum(batch);
            last = loss.Item() / batch.TargetCount;
            if (step == 0) first = last;
            optimizer.ZeroGrad();
            loss.Backward(Tensor.Full([], 1.0 / batch.TargetCount, loss.DType));
            optimizer.Step();
        }
        Assert.True(first > 2 && last < 0.7, $"loss went from {first} to {last}");
    }

    [Fact]
    public void AStepReleasesEverything()
    {
        using var model = new Decoder(Small, seed: 6);
        using PackedBatch batch = Batch([1, 2, 3]);
        Memory.AssertReleasesAll(() =>
        {
            using TensorScope scope = TensorScope.Begin();
            model.LossSum(batch).Backward();
        });
    }

    [Fact]
    public void ParametersHaveTheNamesOfTheDocumentedModel()
    {
        using var model = new Decoder(Small with { Layers = 1 });
        Assert.Equal(["embedding.weight", "positional_embedding.weight", "blocks.0.norm1.weight", "blocks.0.norm2.weight", "blocks.0.qkv.weight", "blocks.0.qkv.bias",
            "blocks.0.proj.weight", "blocks.0.proj.bias", "blocks.0.fc1.weight", "blocks.0.fc1.bias", "blocks.0.fc2.weight", "blocks.0.fc2.bias", "output.weight", "output.bias"],
            model.StateDict().Keys);
    }
}
