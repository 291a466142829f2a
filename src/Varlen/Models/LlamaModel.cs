using System.Text.RegularExpressions;
using Varlen.Data;
using Varlen.Nn;
using F = Varlen.Nn.Functional;

namespace Varlen.Models;

/// <summary>
/// A decoder in the manner of Llama with its output layer: HuggingFace's <c>LlamaForCausalLM</c>, <c>Qwen2ForCausalLM</c> and
/// <c>MistralForCausalLM</c>. (Touvron et al., 2023.)
/// </summary>
/// <remarks>
/// Projections that read the same input are one parameter here, <c>self_attn.qkv_proj</c> and <c>mlp.gate_up_proj</c>, and several tensors
/// under their published names in a saved model.
/// </remarks>
public sealed partial class LlamaModel : CausalLanguageModel
{
    private const string Prefix = "model.", TokenTable = "model.embed_tokens.weight", HeadName = "lm_head.weight";

    private readonly Embedding _tokens;
    private readonly LlamaBlock[] _blocks;
    private readonly RmsNorm _norm;
    private readonly Parameter _head;

    /// <summary>Makes the model with normal weights of deviation <see cref="LlamaConfig.InitializerRange"/>, biases of zero and gains of one.</summary>
    /// <exception cref="ArgumentException">A size or choice is out of range.</exception>
    public LlamaModel(LlamaConfig config, ulong seed = 0) : this(config, seed, (config ?? throw new ArgumentNullException(nameof(config))).InitializerRange)
    {
    }

    // With a deviation of 0 nothing is drawn: the weights are about to be read.
    private LlamaModel(LlamaConfig config, ulong seed, double std)
    {
        config.Validate();
        Config = config;
        _tokens = Register("model.embed_tokens", new Embedding(config.VocabularySize, config.Width, config.Padding, seed, std));
        RotaryFrequencies frequencies = config.Rotary.Frequencies(config.HeadSize);
        _blocks = new LlamaBlock[config.Layers];
        for (int i = 0; i < _blocks.Length; i++) _blocks[i] = Register($"model.layers.{i}", new LlamaBlock(config, i, frequencies, seed + 100 + 10 * (ulong)i, std));
        _norm = Register("model.norm", new RmsNorm(config.Width, config.NormEpsilon));
        _head = config.TieWordEmbeddings ? _tokens.Weight : Register("lm_head", new Linear(config.Width, config.VocabularySize, bias: false, seed + 2, std: std)).Weight;
    }

    /// <summary>The model's sizes and choices.</summary>
    public LlamaConfig Config { get; }

    /// <inheritdoc/>
    public override int VocabularySize => Config.VocabularySize;

    /// <inheritdoc/>
    public override int MaxLength => Config.MaxLength;

    /// <inheritdoc/>
    public override int Layers => Config.Layers;

    /// <inheritdoc/>
    public override int Heads => Config.Heads;

    /// <inheritdoc/>
    public override int KeyValueHeads => Config.KeyHeads;

    /// <inheritdoc/>
    public override int HeadDim => Config.HeadSize;

    /// <inheritdoc/>
    public override IReadOnlyList<int> EndOfText => Config.EndOfText;

    /// <inheritdoc/>
    protected override (Parameter Weight, Parameter? Bias) Head => (_head, null);

    /// <summary>
    /// Reads a model that <see cref="CausalLanguageModel.SavePretrained"/> or <c>transformers</c> wrote. Names may stand with or without the prefix
    /// <c>model.</c>; the frequencies that older files hold are passed over.
    /// </summary>
    /// <inheritdoc cref="CausalLanguageModel.FromPretrained" path="/param"/>
    /// <inheritdoc cref="CausalLanguageModel.FromPretrained" path="/exception"/>
    public static new LlamaModel FromPretrained(string folder, Device? device = null, DType dtype = DType.Float32)
    {
        LlamaConfig config = LlamaConfig.Read(ModelConfigFile.Open(folder));
        return PretrainedWeights.Load(folder, config.ParameterCount, () => new LlamaModel(config, 0, std: 0), device, dtype, Rename, config.TieWordEmbeddings ? (TokenTable, HeadName) : null);
    }

    /// <inheritdoc/>
    public override void SaveConfig(string folder) => ModelConfigFile.Write(folder, Config.ToJson(_head.Master.DType));

    /// <inheritdoc/>
    internal override IEnumerable<PretrainedTensor> PretrainedTensors()
    {
        foreach ((string name, Parameter parameter) in NamedParameters())
        {
            int first = 0;
            foreach ((string part, int rows) in LlamaBlock.Parts(Config, name))
            {
                yield return new PretrainedTensor(part, parameter, first, rows);
                first += rows;
            }
            if (first == 0) yield return PretrainedTensor.Whole(name, parameter);
        }
    }

    /// <inheritdoc/>
    protected override Tensor Embed(TokenBatch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        return F.Embedding(_tokens.Weight, batch.Tokens, Config.Padding);
    }

    /// <inheritdoc/>
    protected override Tensor Features(TokenBatch batch, Tensor embedded)
    {
        var stream = new ResidualState(embedded, null);
        foreach (LlamaBlock block in _blocks) stream = block.Forward(stream, batch, StepState);
        return _norm.Forward(stream.Residual, stream.Pending).Normed;
    }

    private static string? Rename(string name)
        => Frequencies().IsMatch(name) ? null : name == HeadName || name.StartsWith(Prefix, StringComparison.Ordinal) ? name : Prefix + name;

    [GeneratedRegex(@"^(model\.)?(layers\.[0-9]+\.self_attn\.)?rotary_emb\.inv_freq$", RegexOptions.CultureInvariant)]
    private static partial Regex Frequencies();
}
