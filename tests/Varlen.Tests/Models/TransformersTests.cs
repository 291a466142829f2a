using System.Diagnostics;
using Varlen.Data;
using Varlen.Models;
using Xunit;

namespace Varlen.Tests.Models;

/// <summary>Saved models in transformers itself, where Python has it; VARLEN_PYTHON names another interpreter.</summary>
public sealed class TransformersTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static (int Code, string Output) Python(params string[] arguments)
    {
        try
        {
            var start = new ProcessStartInfo(Environment.GetEnvironmentVariable("VARLEN_PYTHON") ?? "python3", arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
            using Process process = Process.Start(start)!;
            Task<string> errors = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return (process.ExitCode, output + errors.GetAwaiter().GetResult());
        }
        catch (System.ComponentModel.Win32Exception cause)
        {
            return (-1, cause.Message);
        }
    }

    private static CausalLanguageModel Draw(Random random, ulong seed)
    {
        int heads = random.Next(1, 5), dim = 2 * random.Next(1, 9), vocabulary = random.Next(20, 90);
        if (random.Next(4) == 0)
            return new Gpt2Model(new Gpt2Config { VocabularySize = vocabulary, MaxLength = 70, Width = heads * dim, Heads = heads, Layers = random.Next(1, 4), InitializerRange = 0.3, TieWordEmbeddings = random.Next(2) == 0, ScaleByInverseLayer = random.Next(2) == 0, Inner = random.Next(1, 50) }, seed);
        var family = (LlamaFamily)random.Next(3);
        int layers = random.Next(1, 4);
        bool hasWindow = family != LlamaFamily.Llama && random.Next(2) == 0;
        return new LlamaModel(new LlamaConfig
        {
            Family = family, VocabularySize = vocabulary, MaxLength = 70, Width = heads * random.Next(3, 12), Inner = random.Next(1, 50), Heads = heads, KeyValueHeads = heads % 2 == 0 ? heads / 2 : 1, HeadDim = dim, Layers = layers, InitializerRange = 0.3,
            TieWordEmbeddings = random.Next(2) == 0, AttentionBias = family == LlamaFamily.Llama && random.Next(2) == 0, MlpBias = family == LlamaFamily.Llama && random.Next(2) == 0, EndOfText = random.Next(2) == 0 ? [1, 2] : [3],
            SlidingWindow = hasWindow ? random.Next(1, 9) : null, SlidingLayers = hasWindow && family == LlamaFamily.Qwen2 ? [.. Enumerable.Range(0, layers).Select(layer => layer == 0)] : null,
            Rotary = random.Next(3) switch
            {
                0 => new RotaryConfig { Theta = 500 },
                1 => new RotaryConfig { Theta = 100, Scaling = RotaryScaling.Llama3, Factor = 4, OriginalMaxLength = 16 },
                _ => new RotaryConfig { Theta = 100, Scaling = RotaryScaling.Yarn, Factor = 4, OriginalMaxLength = 16 },
            },
        }, seed);
    }

    [Fact]
    public void OpensWhatWasSavedWithTheSameLogits()
    {
        (int code, string output) = Python("-c", "import torch, transformers, safetensors; print(transformers.__version__)");
        Assert.SkipWhen(code != 0, $"no Python with transformers: {output.Trim().Split('\n')[^1]}");
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        var folders = new List<string>();
        for (int i = 0; i < 8; i++)
        {
            using CausalLanguageModel model = Draw(random, (ulong)(seed + i));
            using var scope = TensorScope.Begin();
            model.Eval();
            folders.Add(_folder[$"model-{i}"]);
            model.SavePretrained(folders[^1]);
            int[] lengths = [random.Next(1, 70), 1, random.Next(1, 20)];
            TokenSequence[] sequences = [.. lengths.Select(length => Enumerable.Range(0, length).Select(_ => random.Next(model.VocabularySize)).ToArray()).Select(ids => new TokenSequence(ids, ids))];
            using PackedBatch batch = PackedBatch.Create(sequences);
            Safetensors.Save(Path.Combine(folders[^1], "logits.safetensors"), new Dictionary<string, Tensor>
            {
                ["input_ids"] = batch.Tokens, ["cu_seqlens"] = Tensor.From(batch.Layout.CuSeqlens, [lengths.Length + 1]), ["logits"] = model.Forward(batch).Detach(),
            });
        }
        (code, output) = Python([Path.Combine(AppContext.BaseDirectory, "golden", "open_saved.py"), .. folders]);
        TestContext.Current.TestOutputHelper?.WriteLine(output);
        Assert.True(code == 0, $"seed {seed}: {output}");
    }
}
