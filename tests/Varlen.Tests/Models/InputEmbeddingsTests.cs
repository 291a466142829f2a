using Varlen.Data;
using Varlen.Models;
using Xunit;

namespace Varlen.Tests.Models;

/// <summary>A model from its embeddings: the same as from its tokens, and with a gradient for them.</summary>
public sealed class InputEmbeddingsTests
{
    private static readonly TokenSequence[] Sequences = [new((int[])[1, 2, 3, 1, 4], (int[])[2, 3, 1, 4, 0]), new((int[])[5, 1], (int[])[1, PackedBatch.IgnoreIndex])];

    private static CausalLanguageModel Make(string name, DType dtype, Device device) => (name == "gpt2"
        ? (CausalLanguageModel)new Gpt2Model(new Gpt2Config { VocabularySize = 7, MaxLength = 8, Width = 12, Layers = 2, Heads = 3, InitializerRange = 0.3, ResidualDropout = 0, EmbeddingDropout = 0, AttentionDropout = 0 }, 3)
        : new Decoder(new DecoderConfig { VocabularySize = 7, MaxLength = 8, Width = 12, Layers = 2, Heads = 3 }, 3)).To(device, dtype);

    [Theory, MemberData(nameof(TestDevices.All), MemberType = typeof(TestDevices))]
    public void GiveTheBitsOfTheTokens(string name)
    {
        Device device = TestDevices.Get(name);
        foreach (string made in (string[])["gpt2", "decoder"])
        {
            using CausalLanguageModel model = Make(made, DType.Float32, device);
            using PaddedBatch batch = PaddedBatch.Create(Sequences, 6, device);
            using TensorScope scope = TensorScope.Begin();
            Tensor embeddings = model.InputEmbeddings(batch);
            Assert.Equal(new Shape(12, 12), embeddings.Shape);
            Numeric.AssertSameBits(model.Forward(batch), model.Logits(batch, embeddings));
            Numeric.AssertSameBits(model.LossSum(batch), model.LossSum(batch, embeddings));
        }
    }

    [Fact]
    public void HaveTheGradientOfCentralDifferences()
    {
        foreach (string made in (string[])["gpt2", "decoder"])
        {
            using CausalLanguageModel model = Make(made, DType.Float64, Device.Cpu);
            using PackedBatch batch = PackedBatch.Create(Sequences);
            using TensorScope scope = TensorScope.Begin();
            double[] values = model.InputEmbeddings(batch).ToArray<double>();
            Tensor leaf = Tensor.From(values, [7, 12], requiresGrad: true);
            model.LossSum(batch, leaf).Backward();
            double[] gradient = leaf.Grad!.ToArray<double>();
            const double step = 1e-5;
            for (int i = 0; i < values.Length; i += 5)
            {
                double At(double offset)
                {
                    using GradMode.Region region = GradMode.NoGrad();
                    var moved = (double[])values.Clone();
                    moved[i] += offset;
                    return model.LossSum(batch, Tensor.From(moved, [7, 12])).Item();
                }
                Assert.Equal((At(step) - At(-step)) / (2 * step), gradient[i], 1e-6);
            }
        }
    }

    [Fact]
    public void ThatDoNotFitAreRefused()
    {
        using CausalLanguageModel model = Make("decoder", DType.Float32, Device.Cpu);
        using PackedBatch batch = PackedBatch.Create(Sequences);
        using TensorScope scope = TensorScope.Begin();
        foreach (Tensor bad in (Tensor[])[Tensor.Zeros([6, 12]), Tensor.Zeros([7, 11]), Tensor.Zeros([84]), Tensor.Zeros([7, 12], DType.Float64)])
        {
            Assert.Contains("the model reads Float32 [7, 12] on cpu", Assert.Throws<ArgumentException>(() => model.LossSum(batch, bad)).Message, StringComparison.Ordinal);
            Assert.Throws<ArgumentException>(() => model.Logits(batch, bad));
        }
    }
}
