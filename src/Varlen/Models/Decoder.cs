using Varlen.Data;
using Varlen.Nn;
using F = Varlen.Nn.Functional;

namespace Varlen.Models;

/// <summary>
/// A decoder-only transformer: token and position embeddings, pre-norm blocks of attention and a network four times as wide, and an output
/// layer. By default norms have no bias, GELU is exact, there is no final norm, and the output layer is neither tied nor without bias.
/// </summary>
public sealed class Decoder : CausalLanguageModel
{
    private readonly Embedding _embedding, _positions;
    private readonly TransformerBlock[] _blocks;
    private readonly LayerNorm? _norm;
    private readonly Parameter _headWeight;
    private readonly Parameter? _headBias;

    /// <summary>Makes the model with initial weights drawn from a seed.</summary>
    /// <exception cref="ArgumentException">A size or choice is out of range.</exception>
    public Decoder(DecoderConfig config, ulong seed = 0) : this(config, seed, null)
    {
    }

    // With a deviation of 0 nothing is drawn: the weights are about to be read.
    private Decoder(DecoderConfig config, ulong seed, double? std)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Validate();
        Config = config;
        int width = config.Width;
        _embedding = Register("embedding", new Embedding(config.VocabularySize, width, seed: seed, std: std ?? 0.02));
        _positions = Register("positional_embedding", new Embedding(config.MaxLength, width, seed: seed + 1, std: std ?? 0.02));
        _blocks = new TransformerBlock[config.Layers];
        for (int i = 0; i < _blocks.Length; i++)
        {
            var block = new BlockConfig(i, width, config.Heads, checked(4 * width))
            {
                NormBias = config.NormBias,
                Causal = config.Causal,
                Activation = config.Activation,
                AttentionDropout = config.Dropout,
                ResidualDropout = config.Dropout,
                Std = std,
                BranchStd = std,
            };
            _blocks[i] = Register($"blocks.{i}", new TransformerBlock(block, BlockNames.Decoder, seed + 100 + 10 * (ulong)i));
        }
        if (config.FinalNorm) _norm = Register("norm", new LayerNorm(width, bias: config.NormBias));
        if (!config.TiedHead)
        {
            Linear output = Register("output", new Linear(width, config.VocabularySize, config.HeadBias, seed + 2, std: std));
            (_headWeight, _headBias) = (output.Weight, output.Bias);
            return;
        }
        _headWeight = _embedding.Weight;
        if (config.HeadBias) _headBias = Register("output.bias", new Parameter(Tensor.Zeros([config.VocabularySize])));
    }

    /// <summary>The model's sizes and choices.</summary>
    public DecoderConfig Config { get; }

    /// <inheritdoc/>
    public override int VocabularySize => Config.VocabularySize;

    /// <inheritdoc/>
    public override int MaxLength => Config.MaxLength;

    /// <inheritdoc/>
    public override int Layers => Config.Layers;

    /// <inheritdoc/>
    public override int Heads => Config.Heads;

    /// <inheritdoc/>
    public override int HeadDim => Config.Width / Config.Heads;

    /// <inheritdoc/>
    protected override (Parameter Weight, Parameter? Bias) Head => (_headWeight, _headBias);

    /// <inheritdoc cref="CausalLanguageModel.FromPretrained"/>
    public static new Decoder FromPretrained(string folder, Device? device = null, DType dtype = DType.Float32)
    {
        DecoderConfig config = DecoderConfig.Read(ModelConfigFile.Open(folder));
        return PretrainedWeights.Load(folder, config.ParameterCount, () => new Decoder(config, 0, std: 0), device, dtype, name => name);
    }

    /// <inheritdoc/>
    public override void SaveConfig(string folder) => ModelConfigFile.Write(folder, Config.ToJson());

    /// <inheritdoc/>
    protected override Tensor Embed(TokenBatch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        return F.EmbeddingSum(_embedding.Weight, batch.Tokens, _positions.Weight, batch.Positions);
    }

    /// <inheritdoc/>
    protected override Tensor Features(TokenBatch batch, Tensor embedded)
    {
        var stream = new ResidualState(DropoutState.Apply(embedded, IsTraining ? Config.Dropout : 0, StepState, 0, batch), null);
        foreach (TransformerBlock block in _blocks) stream = block.Forward(stream, batch, StepState);
        if (_norm is not null) return _norm.Forward(stream.Residual, stream.Pending).Normed;
        return stream.Pending is null ? stream.Residual : stream.Residual + stream.Pending;
    }
}
