using System.Text.Json;
using Varlen.Cli.Terminal;
using Varlen.Data;
using Varlen.Models;
using Varlen.Optim;

namespace Varlen.Cli.Parity;

/// <summary>
/// What benchmarks/parity/reference.py wrote: a model's initial weights, batches, the losses of a run in single precision and of one in
/// mixed precision, and both gradients of every parameter at the first step.
/// </summary>
internal sealed class ParityFolder : IDisposable
{
    private readonly SafetensorsFile _gradients;
    private readonly JsonElement _reference;
    private readonly int[] _tokens, _targets;
    private readonly long[] _offsets, _batches;

    private ParityFolder(string path)
    {
        Path = path;
        using (TensorScope.Begin())
        {
            IReadOnlyDictionary<string, Tensor> data = Safetensors.Load(File("batches.safetensors"));
            (_tokens, _targets) = (data["tokens"].ToArray<int>(), data["targets"].ToArray<int>());
            (_offsets, _batches) = (data["offsets"].ToArray<long>(), data["batches"].ToArray<long>());
        }
        using JsonDocument document = JsonDocument.Parse(System.IO.File.ReadAllBytes(File("reference.json")));
        _reference = document.RootElement.Clone();
        _gradients = SafetensorsFile.Open(File("gradients.safetensors"));
    }

    /// <summary>The folder.</summary>
    public string Path { get; }

    /// <summary>Steps of the reference runs.</summary>
    public int Steps => _batches.Length - 1;

    /// <summary>Learning rate of every step.</summary>
    public double LearningRate => _reference.GetProperty("lr").GetDouble();

    /// <summary>What made the references.</summary>
    public string Framework => $"{_reference.GetProperty("framework").GetString()} on {_reference.GetProperty("device").GetString()}";

    /// <summary>Opens a folder.</summary>
    /// <exception cref="CommandException">A file is missing, or one lacks what it should hold.</exception>
    public static ParityFolder Open(string path)
    {
        try
        {
            return new ParityFolder(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new CommandException(ExitCode.InputUnreadable, "there is no reference", path, e.Message, "make one with benchmarks/parity/reference.py", e);
        }
        catch (Exception e) when (e is KeyNotFoundException or JsonException or InvalidOperationException)
        {
            throw new CommandException(ExitCode.BadData, "the reference is incomplete", path, e.Message, "make it again with benchmarks/parity/reference.py", e);
        }
    }

    /// <summary>The model with the reference's initial weights.</summary>
    public CausalLanguageModel OpenModel(Device device, DType precision) => CausalLanguageModel.FromPretrained(File("model"), device, precision);

    /// <summary>The reference's optimiser.</summary>
    public Optimizer MakeOptimizer(CausalLanguageModel model) => _reference.GetProperty("optimizer").GetString() switch
    {
        "sgd" => new Sgd(model.NamedParameters(), LearningRate, new SgdOptions { Momentum = _reference.GetProperty("momentum").GetDouble() }),
        "adamw" => new AdamW(model.NamedParameters(), LearningRate, new AdamWOptions { Beta2 = 0.95, WeightDecay = 0 }),
        var other => throw new CommandException(ExitCode.BadData, $"the optimizer '{other}' is not known", File("reference.json")),
    };

    /// <summary>The batch of a step, from 0.</summary>
    public PackedBatch Batch(int step, Device device)
    {
        var sequences = new List<TokenSequence>();
        for (long i = _batches[step]; i < _batches[step + 1]; i++)
        {
            Range range = (int)_offsets[i]..(int)_offsets[i + 1];
            sequences.Add(new TokenSequence(_tokens.AsMemory(range), _targets.AsMemory(range)));
        }
        return PackedBatch.Create(sequences, device);
    }

    /// <summary>The losses of a reference run.</summary>
    /// <param name="name">fp32 or bf16.</param>
    public double[] Losses(string name) => [.. _reference.GetProperty(name).EnumerateArray().Select(loss => loss.GetDouble())];

    /// <summary>A reference gradient of the first step, on the CPU.</summary>
    /// <param name="name">fp32 or bf16.</param>
    /// <param name="parameter">Whose.</param>
    public float[] Gradient(string name, string parameter)
    {
        if (!_gradients.TryGetEntry($"{name}.{parameter}", out SafetensorsEntry? entry))
            throw new CommandException(ExitCode.BadData, "the reference lacks a gradient", $"{name}.{parameter} in {_gradients.Path}", fix: "make it again with benchmarks/parity/reference.py");
        using Tensor tensor = Safetensors.Load(_gradients, entry);
        return tensor.ToArray<float>();
    }

    public void Dispose() => _gradients.Dispose();

    private string File(string name) => System.IO.Path.Combine(Path, name);
}
