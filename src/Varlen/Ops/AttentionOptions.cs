using Varlen.Optim;

namespace Varlen;

/// <summary>
/// How scores are formed and which are visible. The score of query i and key j is <c>softcap(scale * q.k) - slope * |i + d - j|</c>, with
/// d from <see cref="Alignment"/> and <c>softcap(x) = C tanh(x / C)</c>; then the window applies.
/// </summary>
public sealed record AttentionOptions
{
    /// <summary>Which keys a query sees; all of its sequence's by default.</summary>
    public AttentionWindow Window { get; init; } = AttentionWindow.Full;

    /// <summary>How sequences of unequal length line up.</summary>
    public AttentionAlignment Alignment { get; init; } = AttentionAlignment.BottomRight;

    /// <summary>Factor of the scores, finite and positive; <c>1 / sqrt(headDim)</c> when null.</summary>
    public double? Scale { get; init; }

    /// <summary>Bound C of the scores, finite and positive; off when null or 0.</summary>
    public double? Softcap { get; init; }

    /// <summary>ALiBi slopes, <c>[queryHeads]</c> Float32 or Float64 on the inputs' device (Press et al., 2022); off when null. They take no gradient.</summary>
    public Tensor? AlibiSlopes { get; init; }

    /// <summary>Dropout of attention links; off when null.</summary>
    public AttentionDropout? Dropout { get; init; }

    /// <summary>What to do with tokens after the layout's last offset.</summary>
    public TailPolicy TailPolicy { get; init; } = TailPolicy.Error;

    /// <summary>Ask for bits that do not depend on the batch or the run, forward and backward. Always so on the CPU.</summary>
    public bool Deterministic { get; init; }
}

/// <summary>
/// Dropout of attention links. Whether a link is dropped depends only on (seed, step, layer, document key, head, i, j), so packed, padded
/// and reordered batches drop the same links.
/// </summary>
/// <param name="Probability">Of dropping a link, in [0, 1). Kept links are scaled by 1 / (1 - p); the log-sum-exp is not affected.</param>
/// <param name="State">Gives seed and step.</param>
/// <param name="Layer">Number of the layer in its model, below 65536.</param>
public sealed record AttentionDropout(double Probability, StepState State, int Layer);
