using Varlen.Data;
using Varlen.Nn;
using Varlen.Optim;
using F = Varlen.Nn.Functional;

namespace Varlen.Models;

/// <summary>
/// A block in the manner of Llama: attention with rotary positions and shared keys on the RMS norm of the stream, then a SwiGLU network on
/// the norm of what came out. Queries, keys and values are one projection, and so are gate and input of the network.
/// </summary>
public sealed class LlamaBlock : Module<ResidualState, TokenBatch, StepState?, ResidualState>
{
    private const string Qkv = "self_attn.qkv_proj", GateUp = "mlp.gate_up_proj";

    private readonly LlamaConfig _config;
    private readonly AttentionLayer _layer;
    private readonly RotaryFrequencies _frequencies;
    private readonly RmsNorm _norm1, _norm2;
    private readonly Linear _qkv, _output, _gateUp, _down;

    internal LlamaBlock(LlamaConfig config, int index, RotaryFrequencies frequencies, ulong seed, double std)
    {
        (_config, _frequencies) = (config, frequencies);
        _layer = new AttentionLayer(index, Causal: true, config.Rotary.ScoreFactor / Math.Sqrt(config.HeadSize), Previous: config.PreviousOf(index));
        int width = config.Width, heads = checked(config.Heads * config.HeadSize), keys = config.KeyHeads * config.HeadSize;
        _norm1 = Register("input_layernorm", new RmsNorm(width, config.NormEpsilon));
        _qkv = Register(Qkv, new Linear(width, checked(heads + 2 * keys), config.QkvBias, seed, std: std));
        _output = Register("self_attn.o_proj", new Linear(heads, width, config.AttentionBias, seed + 1, std: std));
        _norm2 = Register("post_attention_layernorm", new RmsNorm(width, config.NormEpsilon));
        _gateUp = Register(GateUp, new Linear(width, checked(2 * config.Inner), config.MlpBias, seed + 2, std: std));
        _down = Register("mlp.down_proj", new Linear(config.Inner, width, config.MlpBias, seed + 3, std: std));
    }

    /// <summary>The tensors of a file that a parameter of a block is fused of, one after the other along its rows.</summary>
    /// <param name="config">Gives the sizes.</param>
    /// <param name="name">The parameter's name, whatever stands before it.</param>
    /// <returns>Names and rows; nothing for a parameter that is one tensor.</returns>
    internal static IEnumerable<(string Name, int Rows)> Parts(LlamaConfig config, string name)
    {
        int heads = config.Heads * config.HeadSize, keys = config.KeyHeads * config.HeadSize;
        return Fused(Qkv, ("self_attn.q_proj", heads), ("self_attn.k_proj", keys), ("self_attn.v_proj", keys))
            ?? Fused(GateUp, ("mlp.gate_proj", config.Inner), ("mlp.up_proj", config.Inner)) ?? [];

        IEnumerable<(string, int)>? Fused(string whole, params (string Name, int Rows)[] parts)
        {
            int at = name.LastIndexOf(whole, StringComparison.Ordinal);
            return at < 0 ? null : parts.Select(part => (name[..at] + part.Name + name[(at + whole.Length)..], part.Rows));
        }
    }

    /// <summary>Attention and network, each on the norm of the stream so far.</summary>
    protected override ResidualState ForwardCore(ResidualState first, TokenBatch second, StepState? third)
    {
        (int heads, int keys, int dim) = (_config.Heads, _config.KeyHeads, _config.HeadSize);
        (Tensor residual, Tensor normed) = _norm1.Forward(first.Residual, first.Pending);
        Tensor qkv = _qkv.Forward(normed).View(first.Residual.Shape[0], heads + 2 * keys, dim);
        Tensor turned = F.Rotary(qkv.Narrow(1, 0, heads + keys), second.Positions, _frequencies);
        AttentionDropout? links = IsTraining && _config.AttentionDropout > 0 ? new(_config.AttentionDropout, DropoutState.Require(third), _layer.Index) : null;
        Tensor attended = second.Attention.Attend(turned.Narrow(1, 0, heads), turned.Narrow(1, heads, keys), qkv.Narrow(1, heads + keys, keys), _layer with { Dropout = links });
        (residual, normed) = _norm2.Forward(residual, _output.Forward(attended.View(attended.Shape[0], heads * dim)));
        Tensor[] network = _gateUp.Forward(normed).Chunk(2, dimension: 1);
        return new ResidualState(residual, _down.Forward(F.SwiGlu(network[0], network[1])));
    }
}
