using Varlen.Data;
using Varlen.Models;
using Xunit;

namespace Varlen.Tests.Models;

/// <summary>Models that transformers made, against what transformers computed.</summary>
public sealed class GoldenModelTests
{
    // The ways to train on sequences of any length first: padded with a mask, padded and unpadded around attention, flattened with positions.
    private static readonly ICollator[] Collators =
        [new PadToLongestCollator(), new PadAndUnpadCollator(), new FlattenCollator(), new ConcatCollator(), new PadToMaximumCollator(100), new NestedCollator(), new BlockDiagonalCollator(), new DocumentMaskCollator()];

    public static TheoryData<string, string> ModelsAndDevices()
    {
        var rows = new TheoryData<string, string>();
        foreach (string device in TestDevices.All.Select(row => row.Data))
            foreach (string name in GoldenModel.All.Select(row => row.Data)) rows.Add(name, device);
        return rows;
    }

    [Theory]
    [MemberData(nameof(ModelsAndDevices))]
    public void LogitsLossAndGradientsAreThoseOfTransformers(string name, string device)
    {
        using var golden = new GoldenModel(name);
        using CausalLanguageModel model = CausalLanguageModel.FromPretrained(golden.Folder, TestDevices.Get(device));
        // Each way with some of the models where launches take long.
        foreach (ICollator collator in TestDevices.IsSlow && device == "cuda" ? [Collators[name.Length % 3]] : Collators)
        {
            using TokenBatch batch = collator.Collate(golden.Sequences, model.Device);
            Check("logits", golden.Logits, GoldenModel.RealLogits(model, batch));
            (double loss, Dictionary<string, double[]> gradients) = GoldenModel.Train(model, batch);
            Assert.Equal(golden.Loss, loss, 1e-4 * golden.Loss);
            Dictionary<string, double[]> expected = golden.Gradients;
            Assert.Equal(expected.Keys.Order(StringComparer.Ordinal), gradients.Keys.Order(StringComparer.Ordinal));
            foreach ((string tensor, double[] gradient) in expected) Check(tensor, gradient, gradients[tensor]);

            void Check(string what, double[] reference, double[] actual)
            {
                double scale = Math.Max(0.01, reference.Max(Math.Abs)), error = reference.Zip(actual, (a, b) => Math.Abs(a - b)).Max();
                Assert.True(reference.Length == actual.Length && error <= 1e-4 * scale, $"{name} on {device}, {collator.GetType().Name}, {what}: {error / scale:G3} of {scale:G3} apart");
            }
        }
    }

    /// <summary>At most twice as far from single precision as transformers is in bfloat16.</summary>
    [Theory]
    [MemberData(nameof(ModelsAndDevices))]
    public void LogitsInBFloat16AreAsNearAsThoseOfTransformers(string name, string device)
    {
        using var golden = new GoldenModel(name);
        using CausalLanguageModel model = CausalLanguageModel.FromPretrained(golden.Folder, TestDevices.Get(device), DType.BFloat16);
        using PackedBatch batch = PackedBatch.Create(golden.Sequences, model.Device);
        double[] exact = golden.Logits;
        double theirs = exact.Zip(golden.LogitsInBFloat16, (a, b) => Math.Abs(a - b)).Max(), rounding = exact.Max(x => Math.Abs((double)((BFloat16)((float)(BFloat16)(float)(x + 0.3) - 0.3f)) - x));
        double ours = exact.Zip(GoldenModel.RealLogits(model, batch), (a, b) => Math.Abs(a - b)).Max();
        Assert.True(ours <= 2 * theirs + 2 * rounding, $"{name} on {device}: {ours:G3} apart; transformers is {theirs:G3} apart, and rounding {rounding:G3}");
    }

    /// <summary>What was read is written under the same names with the same bits, in one piece, and means the same.</summary>
    [Theory]
    [MemberData(nameof(GoldenModel.All), MemberType = typeof(GoldenModel))]
    public void SavesWhatItRead(string name)
    {
        using var golden = new GoldenModel(name);
        using var folder = new TemporaryFolder();
        using CausalLanguageModel model = CausalLanguageModel.FromPretrained(golden.Folder);
        model.SavePretrained(folder.Path);
        using var scope = TensorScope.Begin();
        IReadOnlyDictionary<string, Tensor> written = Safetensors.Load(folder["model.safetensors"]);
        var read = new Dictionary<string, Tensor>();
        foreach (string file in Directory.GetFiles(golden.Folder, "model*.safetensors"))
            foreach ((string tensor, Tensor value) in Safetensors.Load(file)) read.Add(tensor, value);
        Assert.Equal(read.Keys.Order(StringComparer.Ordinal), written.Keys.Order(StringComparer.Ordinal));
        foreach ((string tensor, Tensor value) in read) Numeric.AssertSameBits(value, written[tensor]);
        using CausalLanguageModel again = CausalLanguageModel.FromPretrained(folder.Path);
        using PackedBatch batch = PackedBatch.Create(golden.Sequences);
        Assert.Equal(GoldenModel.RealLogits(model, batch), GoldenModel.RealLogits(again, batch));
        byte[] config = File.ReadAllBytes(folder["config.json"]);
        again.SaveConfig(folder.Path);
        Assert.Equal(config, File.ReadAllBytes(folder["config.json"]));
    }
}
