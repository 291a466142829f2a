using Varlen.Data;
using Varlen.Nn;
using Varlen.Optim;
using F = Varlen.Nn.Functional;

namespace Varlen.Models;

/// <summary>The residual stream between blocks: its value is the sum of both parts.</summary>
/// <param name="Residual">What has been added up.</param>
/// <param name="Pending">What the next norm adds; null when nothing is.</param>
public readonly record struct ResidualState(Tensor Residual, Tensor? Pending) : ITensorBundle
{
    IEnumerable<Tensor?> ITensorBundle.Tensors => [Residual, Pending];
}

/// <summary>
/// A pre-norm block: attention on the norm of the stream, then a network of two layers on the norm of what came out. It hands on the stream
/// and the part that is still to be added, so that each addition is fused into the next norm.
/// </summary>
public sealed class TransformerBlock : Module<ResidualState, TokenBatch, StepState?, ResidualState>
{
    private readonly BlockConfig _config;
    private readonly LayerNorm _norm1, _norm2;
    private readonly Linear _qkv, _proj, _fc1, _fc2;

    internal TransformerBlock(BlockConfig config, BlockNames names, ulong seed)
    {
        _config = config;
        int width = config.Width;
        _norm1 = Register(names.Norm1, new LayerNorm(width, config.Epsilon, config.NormBias));
        _norm2 = Register(names.Norm2, new LayerNorm(width, config.Epsilon, config.NormBias));
        _qkv = Register(names.Qkv, new Linear(width, 3 * width, true, seed, config.Layout, config.Std));
        _proj = Register(names.Proj, new Linear(width, width, true, seed + 1, config.Layout, config.BranchStd));
        _fc1 = Register(names.Fc1, new Linear(width, config.Inner, true, seed + 2, config.Layout, config.Std));
        _fc2 = Register(names.Fc2, new Linear(config.Inner, width, true, seed + 3, config.Layout, config.BranchStd));
    }

    /// <summary>Attention and network, each on the norm of the stream so far.</summary>
    protected override ResidualState ForwardCore(ResidualState first, TokenBatch second, StepState? third)
    {
        int headDim = _config.Width / _config.Heads;
        (Tensor residual, Tensor normed) = _norm1.Forward(first.Residual, first.Pending);
        Tensor[] qkv = _qkv.Forward(normed).View(-1, 3 * _config.Heads, headDim).Chunk(3, dimension: 1);
        AttentionDropout? links = IsTraining && _config.AttentionDropout > 0 ? new(_config.AttentionDropout, DropoutState.Require(third), _config.Index) : null;
        Tensor attended = second.Attention.Attend(qkv[0], qkv[1], qkv[2], new AttentionLayer(_config.Index, _config.Causal, _config.Scale, links));
        (residual, normed) = _norm2.Forward(residual, Drop(_proj.Forward(attended.View(-1, _config.Width)), 1));
        return new ResidualState(residual, Drop(_fc2.Forward(_config.Activation.Apply(_fc1, normed)), 2));

        Tensor Drop(Tensor branch, int place) => DropoutState.Apply(branch, IsTraining ? _config.ResidualDropout : 0, third, 2 * _config.Index + place, second);
    }
}

/// <summary>Dropout of activations in a model: place 0 is the embedding, places 2 i + 1 and 2 i + 2 are the branches of block i.</summary>
internal static class DropoutState
{
    public static Tensor Apply(Tensor input, double probability, StepState? state, int place, TokenBatch batch)
        => probability == 0 ? input : F.Dropout(input, probability, Require(state), place, batch.DropoutKeys);

    public static StepState Require(StepState? state) => state
        ?? throw new InvalidOperationException("dropout draws from a seed and a step number: set the model's StepState to the optimiser's, call Eval(), or set the dropout of its configuration to 0");
}

/// <summary>Sizes and choices of a block.</summary>
internal sealed record BlockConfig(int Index, int Width, int Heads, int Inner)
{
    public double Epsilon { get; init; } = 1e-5;
    public bool NormBias { get; init; }
    public bool Causal { get; init; } = true;
    public Activation Activation { get; init; }
    public double AttentionDropout { get; init; }
    public double ResidualDropout { get; init; }
    public WeightLayout Layout { get; init; } = WeightLayout.OutIn;
    /// <summary>Factor of the scores; null for one over the root of the head's size.</summary>
    public double? Scale { get; init; }
    /// <summary>Deviation of initial weights, and of those whose output is added to the stream; PyTorch's uniform ones when null.</summary>
    public double? Std { get; init; }
    public double? BranchStd { get; init; }
}

/// <summary>Names of a block's layers in the state dictionary.</summary>
internal sealed record BlockNames(string Norm1, string Qkv, string Proj, string Norm2, string Fc1, string Fc2)
{
    public static readonly BlockNames Decoder = new("norm1", "qkv", "proj", "norm2", "fc1", "fc2");
    public static readonly BlockNames Gpt2 = new("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj");
}
