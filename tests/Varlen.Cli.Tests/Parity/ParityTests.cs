using System.Text.Json;
using Varlen.Data;
using Varlen.Models;
using Varlen.Nn;
using Varlen.Optim;
using Xunit;

namespace Varlen.Cli.Tests.Parity;

public sealed class ParityTests : IDisposable
{
    private const int Steps = 30;
    private const double LearningRate = 1e-2;
    private readonly TemporaryFolder _folder = new();

    [Fact]
    public void EqualTrainingPassesAndAPlantedFaultDoesNot()
    {
        WriteReference();
        CliResult equal = Cli.Run("bench", "parity", _folder.Path, "--json");
        Assert.True(equal.ExitCode == 0, equal.Error);
        JsonElement[] rows = [.. equal.Output.TrimEnd().Split('\n').Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.Equal(["fp32", "bf16"], rows.Select(row => row.GetProperty("precision").GetString()));
        Assert.All(rows, row => Assert.True(row.GetProperty("ok").GetBoolean()));
        Assert.Equal(0, rows[0].GetProperty("loss_difference").GetDouble(), 5);

        Cli.Run("bench", "parity", _folder.Path, "--precision", "fp32", "--plant", "blocks.1.fc1.bias").AssertEnds(1, "training is not the same", "the first gradient of blocks.1.fc1.bias");
        Cli.Run("bench", "parity", _folder.Path, "--plant", "blocks.1.fc1.bais").AssertEnds(2, "--plant does not know", "did you mean blocks.1.fc1.bias?");
        Cli.Run("bench", "parity", _folder.File("nowhere")).AssertEnds(66, "there is no reference", "nowhere");
    }

    [Fact]
    public void TheEmulatedGpuTrainsAsTheCpuDoes()
    {
        WriteReference();
        CliResult result = Cli.RunEmulated(new Dictionary<string, string>(), "bench", "parity", _folder.Path, "--device", "cuda", "--precision", "fp32", "--json");
        Assert.True(result.ExitCode == 0, $"{result.Error}\n{result.Output}");
    }

    public void Dispose() => _folder.Dispose();

    // What reference.py writes, from this library's own CPU.
    private void WriteReference()
    {
        PackedBatch[] batches = [.. Enumerable.Range(0, Steps).Select(step => PackedBatch.Create([.. Enumerable.Range(0, 4).Select(i => Sequence(8 + (5 * step + 3 * i) % 17))]))];
        using (TensorScope.Begin())
        {
            using Decoder model = Model();
            model.SavePretrained(_folder.File("model"));
            int[] lengths = [.. batches.SelectMany(batch => Enumerable.Range(0, batch.Layout.Count).Select(i => batch.Layout[i].Length))];
            Safetensors.Save(_folder.File("batches.safetensors"),
            [
                new("tokens", Tensor.From([.. batches.SelectMany(batch => batch.Tokens.ToArray<int>())], [lengths.Sum()])),
                new("targets", Tensor.From([.. batches.SelectMany(batch => batch.Targets.ToArray<int>())], [lengths.Sum()])),
                new("offsets", Tensor.From(Cumulative(lengths), [lengths.Length + 1])),
                new("batches", Tensor.From(Cumulative([.. batches.Select(batch => batch.Layout.Count)]), [batches.Length + 1])),
            ]);
            var gradients = new Dictionary<string, Tensor>();
            double[] single = Train(batches, DType.Float32, "fp32", gradients), mixed = Train(batches, DType.BFloat16, "bf16", gradients);
            Safetensors.Save(_folder.File("gradients.safetensors"), gradients);
            _folder.Write("reference.json", JsonSerializer.Serialize(new { framework = "Varlen", device = "cpu", optimizer = "adamw", lr = LearningRate, momentum = 0.0, fp32 = single, bf16 = mixed }));
        }
        foreach (PackedBatch batch in batches) batch.Dispose();
    }

    private static Decoder Model() => new(new DecoderConfig { Layers = 2, Width = 32, Heads = 2, VocabularySize = 257, MaxLength = 32 }, seed: 1);

    private static double[] Train(PackedBatch[] batches, DType dtype, string name, Dictionary<string, Tensor> gradients)
    {
        using Decoder model = Model().To(Device.Cpu, dtype);
        using var optimizer = new AdamW(model.NamedParameters(), LearningRate, new AdamWOptions { Beta2 = 0.95, WeightDecay = 0 });
        using var state = new StepState();
        var losses = new double[batches.Length];
        for (int i = 0; i < batches.Length; i++)
        {
            state.Begin(i + 1, LearningRate, 1.0 / batches[i].TargetCount);
            optimizer.ZeroGrad();
            Tensor loss = model.LossSum(batches[i]);
            loss.Backward(state.LossGradient);
            if (i == 0)
                foreach ((string key, Parameter parameter) in model.NamedParameters()) gradients[$"{name}.{key}"] = parameter.Grad!.Detach().Clone();
            optimizer.Step(state);
            losses[i] = loss.Item() / batches[i].TargetCount;
        }
        return losses;
    }

    private static TokenSequence Sequence(int length)
    {
        int[] ids = [.. System.Text.Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat("abcab ", 8)))[..(length + 1)].Select(value => (int)value)];
        return new TokenSequence(ids.AsMemory(0, length), ids.AsMemory(1, length));
    }

    private static long[] Cumulative(int[] counts)
    {
        var sums = new long[counts.Length + 1];
        for (int i = 0; i < counts.Length; i++) sums[i + 1] = sums[i] + counts[i];
        return sums;
    }
}
