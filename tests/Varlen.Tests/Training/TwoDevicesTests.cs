using Varlen.Data;
using Varlen.Models;
using Varlen.Training;
using Xunit;

namespace Varlen.Tests.Training;

/// <summary>Two CUDA devices in one process, each with a thread of its own and in turns from one thread.</summary>
public sealed class TwoDevicesTests
{
    private const int Steps = 3;

    [Fact]
    public void ThreadsTrainOnDevicesOfTheirOwnAtOnce()
    {
        Device[] devices = Both();
        float[] alone = Train(devices[0]);
        var results = new float[2][];
        var failures = new List<Exception>();
        Thread[] threads = [.. devices.Select((device, i) => new Thread(() =>
        {
            try
            {
                results[i] = Train(device);
            }
            catch (Exception failure)
            {
                lock (failures) failures.Add(failure);
            }
        }))];
        foreach (Thread thread in threads) thread.Start();
        foreach (Thread thread in threads) thread.Join();
        Assert.Empty(failures);
        Assert.Equal(alone, results[0]);
        // Devices of one kind give the same bits.
        Assert.Equal(alone, results[1]);
    }

    [Fact]
    public void OneThreadUsesThemInTurns()
    {
        Device[] devices = Both();
        float[] alone = Train(devices[1]);
        using var corpus = new Corpus(16, Corpus.Patterns(30, 3));
        using var first = new Session(corpus, devices[0]);
        using var second = new Session(corpus, devices[1]);
        for (int i = 0; i < Steps; i++)
        {
            first.Trainer.Begin();
            second.Trainer.Begin();
        }
        for (int i = 0; i < Steps; i++)
        {
            first.Trainer.Complete();
            second.Trainer.Complete();
        }
        Assert.Equal(alone, first.Weights());
        Assert.Equal(alone, second.Weights());
    }

    [Fact]
    public void OperandsOfDifferentDevicesAreRefusedAndCopiesBetweenThemAreExact()
    {
        Device[] devices = Both();
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([5, 7], 1), here = x.To(devices[0]), there = here.To(devices[1]);
        Assert.Equal(x.ToArray<float>(), there.ToArray<float>());
        var refused = Assert.Throws<ArgumentException>(() => here + there);
        Assert.Contains("cuda:0", refused.Message, StringComparison.Ordinal);
        Assert.Contains("cuda:1", refused.Message, StringComparison.Ordinal);
    }

    private static Device[] Both()
    {
        Device first = TestDevices.Cuda();
        Assert.SkipWhen(Device.CudaCount < 2, $"{Device.CudaCount} CUDA device; this takes two");
        return [first, Device.Cuda(1)];
    }

    private static float[] Train(Device device)
    {
        using var corpus = new Corpus(16, Corpus.Patterns(30, 3));
        using var session = new Session(corpus, device);
        for (int i = 0; i < Steps; i++) session.Trainer.Step();
        return session.Weights();
    }

    private sealed class Session : IDisposable
    {
        private readonly CausalLanguageModel _model;
        private readonly PackedLoader _loader;
        private readonly Device _device;
        private readonly bool _wasDeterministic;

        public Session(Corpus corpus, Device device)
        {
            // Else each device would choose its products by timing them.
            (_device, _wasDeterministic) = (device, device.IsDeterministic);
            device.IsDeterministic = true;
            _model = Corpus.Model(16, dropout: 0.1).To(device, DType.Float32);
            _loader = new PackedLoader(corpus.Store, corpus.Plan, new LoaderOptions { BatchTokens = 48 }, device);
            Trainer = new Trainer(_model, _loader, new TrainerOptions { Steps = 100, LearningRate = 1e-2, WarmupSteps = 2 });
        }

        public Trainer Trainer { get; }

        public float[] Weights() => [.. _model.Parameters().SelectMany(parameter => parameter.Master.ToArray<float>())];

        public void Dispose()
        {
            Trainer.Dispose();
            _loader.Dispose();
            _model.Dispose();
            _device.IsDeterministic = _wasDeterministic;
        }
    }
}
