using Varlen.Data;
using Varlen.Models;
using Xunit;

namespace Varlen.Tests.Models;

/// <summary>A model of tests/golden/models, and what transformers computed with it; tests/golden/models.py says how it was made.</summary>
internal sealed class GoldenModel : IDisposable
{
    private readonly IReadOnlyDictionary<string, Tensor> _reference;

    public GoldenModel(string name)
    {
        Folder = Path.Combine(Root, name);
        using var scope = TensorScope.Begin();
        _reference = Safetensors.Load(Path.Combine(Folder, "reference.safetensors"));
        foreach (Tensor tensor in _reference.Values) tensor.Keep();
        int[] ids = _reference["input_ids"].ToArray<int>(), offsets = _reference["cu_seqlens"].ToArray<int>();
        Sequences = [.. offsets.Zip(offsets.Skip(1), (start, end) => new TokenSequence(ids.AsMemory(start..end), (int[])[.. ids[(start + 1)..end], PackedBatch.IgnoreIndex]))];
    }

    // Others that models.py made, in their place.
    private static string Root => Environment.GetEnvironmentVariable("VARLEN_GOLDEN_MODELS") ?? Path.Combine(AppContext.BaseDirectory, "golden", "models");

    public static TheoryData<string> All => new(Directory.GetDirectories(Root).Select(folder => Path.GetFileName(folder)).Order(StringComparer.Ordinal));

    public string Folder { get; }

    /// <summary>The sequences, each token with its successor as the target.</summary>
    public IReadOnlyList<TokenSequence> Sequences { get; }

    /// <summary>Mean cross entropy of the targets.</summary>
    public double Loss => _reference["loss"].Item();

    /// <summary>Of every token, in single precision.</summary>
    public double[] Logits => _reference["logits"].ToArray<double>();

    /// <summary>Of every token, as transformers computes them in bfloat16.</summary>
    public double[] LogitsInBFloat16 => _reference["logits_bf16"].ToArray<double>();

    /// <summary>Gradients of the loss under the names of the file.</summary>
    public Dictionary<string, double[]> Gradients => _reference.Where(entry => entry.Key.StartsWith("grad.", StringComparison.Ordinal)).ToDictionary(entry => entry.Key[5..], entry => entry.Value.ToArray<double>());

    /// <summary>Logits of the rows that are tokens, in the order of sequences.</summary>
    public static double[] RealLogits(CausalLanguageModel model, TokenBatch batch)
    {
        using var scope = TensorScope.Begin();
        using var region = GradMode.NoGrad();
        double[] all = model.Forward(batch).ToArray<double>();
        if (batch is not PaddedBatch padded) return all;
        var real = new double[batch.RealTokens * model.VocabularySize];
        PaddedIndices.PadRight(batch.Layout, padded.Length).Pack<double>(all, real, model.VocabularySize);
        return real;
    }

    /// <summary>The loss and, under the names of the file, its gradients.</summary>
    public static (double Loss, Dictionary<string, double[]> Gradients) Train(CausalLanguageModel model, TokenBatch batch)
    {
        using var scope = TensorScope.Begin();
        model.ZeroGrad();
        Tensor loss = model.LossSum(batch);
        loss.Backward(Tensor.Full([], 1.0 / batch.TargetCount, loss.DType, model.Device));
        return (loss.Item() / batch.TargetCount, model.PretrainedTensors().ToDictionary(tensor => tensor.Name, tensor => tensor.Parameter.Grad!.Narrow(0, tensor.First, tensor.Rows).ToArray<double>()));
    }

    public void Dispose()
    {
        foreach (Tensor tensor in _reference.Values) tensor.Dispose();
    }
}
