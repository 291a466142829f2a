using System.Text.RegularExpressions;
using Varlen.Data;
using Varlen.Nn;
using F = Varlen.Nn.Functional;

namespace Varlen.Models;

/// <summary>
/// GPT-2 with its output layer, under the tensor names of HuggingFace's <c>GPT2LMHeadModel</c> and with its weights as they are published:
/// the blocks' linear layers are stored <c>[in, out]</c>. (Radford et al., 2019.)
/// </summary>
public sealed partial class Gpt2Model : CausalLanguageModel
{
    private const string Prefix = "transformer.", TokenTable = "transformer.wte.weight", HeadName = "lm_head.weight";

    private readonly Embedding _tokens, _positions;
    private readonly TransformerBlock[] _blocks;
    private readonly LayerNorm _norm;
    private readonly Parameter _head;

    /// <summary>
    /// Makes the model with GPT-2's initialisation: normal weights of deviation <see cref="Gpt2Config.InitializerRange"/>, divided by
    /// <c>sqrt(2 * layers)</c> where a branch is added to the stream, and biases of zero.
    /// </summary>
    /// <exception cref="ArgumentException">A size or choice is out of range.</exception>
    public Gpt2Model(Gpt2Config config, ulong seed = 0) : this(config, seed, (config ?? throw new ArgumentNullException(nameof(config))).InitializerRange)
    {
    }

    // With a deviation of 0 nothing is drawn: the weights are about to be read.
    private Gpt2Model(Gpt2Config config, ulong seed, double std)
    {
        config.Validate();
        Config = config;
        int width = config.Width;
        _tokens = Register("transformer.wte", new Embedding(config.VocabularySize, width, seed: seed, std: std));
        _positions = Register("transformer.wpe", new Embedding(config.MaxLength, width, seed: seed + 1, std: std));
        _blocks = new TransformerBlock[config.Layers];
        for (int i = 0; i < _blocks.Length; i++)
        {
            double scale = config.ScaleAttention ? 1 / Math.Sqrt(width / config.Heads) : 1;
            var block = new BlockConfig(i, width, config.Heads, config.InnerWidth)
            {
                Epsilon = config.NormEpsilon,
                NormBias = true,
                Activation = config.Activation,
                AttentionDropout = config.AttentionDropout,
                ResidualDropout = config.ResidualDropout,
                Layout = WeightLayout.InOut,
                Scale = config.ScaleByInverseLayer ? scale / (i + 1) : scale,
                Std = std,
                BranchStd = std / Math.Sqrt(2 * config.Layers),
            };
            _blocks[i] = Register($"transformer.h.{i}", new TransformerBlock(block, BlockNames.Gpt2, seed + 100 + 10 * (ulong)i));
        }
        _norm = Register("transformer.ln_f", new LayerNorm(width, config.NormEpsilon));
        _head = config.TieWordEmbeddings ? _tokens.Weight : Register("lm_head", new Linear(width, config.VocabularySize, bias: false, seed + 2, std: std)).Weight;
    }

    /// <summary>The model's sizes and choices.</summary>
    public Gpt2Config Config { get; }

    /// <inheritdoc/>
    public override int VocabularySize => Config.VocabularySize;

    /// <inheritdoc/>
    public override int MaxLength => Config.MaxLength;

    /// <inheritdoc/>
    public override int Layers => Config.Layers;

    /// <inheritdoc/>
    public override int Heads => Config.Heads;

    /// <inheritdoc/>
    public override IReadOnlyList<int> EndOfText => Config.EndOfText is { } end ? [end] : [];

    /// <inheritdoc/>
    public override int HeadDim => Config.Width / Config.Heads;

    /// <inheritdoc/>
    protected override (Parameter Weight, Parameter? Bias) Head => (_head, null);

    /// <summary>
    /// Reads a model that <see cref="CausalLanguageModel.SavePretrained"/> or <c>transformers</c> wrote. Names may stand with or without the prefix
    /// <c>transformer.</c>; the mask buffers of older files are passed over.
    /// </summary>
    /// <inheritdoc cref="CausalLanguageModel.FromPretrained" path="/param"/>
    /// <inheritdoc cref="CausalLanguageModel.FromPretrained" path="/exception"/>
    public static new Gpt2Model FromPretrained(string folder, Device? device = null, DType dtype = DType.Float32)
    {
        Gpt2Config config = Gpt2Config.Read(ModelConfigFile.Open(folder));
        return PretrainedWeights.Load(folder, config.ParameterCount, () => new Gpt2Model(config, 0, std: 0), device, dtype, Rename, config.TieWordEmbeddings ? (TokenTable, HeadName) : null);
    }

    /// <inheritdoc/>
    public override void SaveConfig(string folder) => ModelConfigFile.Write(folder, Config.ToJson(_head.Master.DType));

    /// <inheritdoc/>
    protected override Tensor Embed(TokenBatch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        return F.EmbeddingSum(_tokens.Weight, batch.Tokens, _positions.Weight, batch.Positions);
    }

    /// <inheritdoc/>
    protected override Tensor Features(TokenBatch batch, Tensor embedded)
    {
        var stream = new ResidualState(DropoutState.Apply(embedded, IsTraining ? Config.EmbeddingDropout : 0, StepState, 0, batch), null);
        foreach (TransformerBlock block in _blocks) stream = block.Forward(stream, batch, StepState);
        return _norm.Forward(stream.Residual, stream.Pending).Normed;
    }

    private static string? Rename(string name)
        => Buffer().IsMatch(name) ? null : name == HeadName || name.StartsWith(Prefix, StringComparison.Ordinal) ? name : Prefix + name;

    [GeneratedRegex(@"^(transformer\.)?h\.[0-9]+\.attn\.(bias|masked_bias)$", RegexOptions.CultureInvariant)]
    private static partial Regex Buffer();
}
