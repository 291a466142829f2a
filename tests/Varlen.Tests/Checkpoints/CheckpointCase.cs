using System.Text.Json.Nodes;
using Varlen.Checkpoints;
using Xunit;

namespace Varlen.Tests.Checkpoints;

/// <summary>Checkpoints whose contents follow from their step, so that a reader can tell a whole one from any mixture.</summary>
internal static class CheckpointCase
{
    public static Action<CheckpointWriter> Contents(long step, int size = 12) => writer =>
    {
        using TensorScope scope = TensorScope.Begin();
        writer.WriteTensors("model.safetensors", [new("w", Tensor.From(Values(step, size), [size])), new("b", Tensor.From(Values(step + 1000, 3), [3]))]);
        writer.WriteTensors("optimizer.safetensors", [new("w.exp_avg", Tensor.From(Values(-step, size), [size]))]);
        writer.WriteJson("trainer.json", new JsonObject { ["step"] = step, ["size"] = size, ["name"] = $"s{step}" });
    };

    public static void AssertWhole(Checkpoint checkpoint)
    {
        using TensorScope scope = TensorScope.Begin();
        long step = checkpoint.Step;
        JsonNode trainer = checkpoint.ReadJson("trainer.json");
        int size = (int)trainer["size"]!;
        Assert.Equal((step, $"s{step}"), ((long)trainer["step"]!, (string)trainer["name"]!));
        IReadOnlyDictionary<string, Tensor> model = checkpoint.ReadTensors("model.safetensors");
        Assert.Equal(Values(step, size), model["w"].ToArray<float>());
        Assert.Equal(Values(step + 1000, 3), model["b"].ToArray<float>());
        Assert.Equal(Values(-step, size), checkpoint.ReadTensors("optimizer.safetensors")["w.exp_avg"].ToArray<float>());
    }

    /// <summary>The step that a reader recovers, after checking all of its contents; null when there is none.</summary>
    public static long? Recover(string path, Action<string>? warn = null)
    {
        using Checkpoint? checkpoint = new CheckpointFolder(path, warn).OpenNewest();
        if (checkpoint is not null) AssertWhole(checkpoint);
        return checkpoint?.Step;
    }

    /// <summary>A folder in memory where the system has such: most tests do not test the disk.</summary>
    public static string TemporaryFolder()
    {
        const string memory = "/dev/shm";
        if (!Directory.Exists(memory)) return Directory.CreateTempSubdirectory("varlen-checkpoints-").FullName;
        return Directory.CreateDirectory(Path.Combine(memory, $"varlen-checkpoints-{Path.GetRandomFileName()}")).FullName;
    }

    private static float[] Values(long seed, int count)
    {
        var random = new Random((int)seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.NextSingle())];
    }
}
