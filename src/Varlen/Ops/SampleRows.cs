using System.Runtime.InteropServices;

namespace Varlen.Ops;

/// <summary>How ids are drawn from logits; the numbers have been checked.</summary>
/// <param name="Temperature">0 takes the largest logit.</param>
/// <param name="TopK">Most ids that may be drawn.</param>
/// <param name="TopP">Probability that the likeliest of them must have together.</param>
/// <param name="Penalty">Of ids that were there; 1 changes nothing.</param>
internal readonly record struct SamplingRule(double Temperature, int TopK, double TopP, double Penalty);

/// <summary>One row to draw from, as kernels read it.</summary>
/// <param name="Slot">Row of the marks of ids that were there.</param>
/// <param name="Token">The token that was read last, which counts among them; below 0 for a row that nothing is drawn for.</param>
/// <param name="SeedLow">Low half of the seed.</param>
/// <param name="SeedHigh">High half.</param>
/// <param name="DrawLow">Number of the draw, low half.</param>
/// <param name="DrawHigh">High half.</param>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct SampledRow(int Slot, int Token, uint SeedLow, uint SeedHigh, uint DrawLow, uint DrawHigh)
{
    /// <summary>A row that nothing is drawn for.</summary>
    public static SampledRow None => new(0, -1, 0, 0, 0, 0);

    public static SampledRow Of(int slot, int token, ulong seed, long draw) => new(slot, token, (uint)seed, (uint)(seed >> 32), (uint)draw, (uint)(draw >>> 32));
}

internal interface ISamplingKernels
{
    /// <summary>
    /// ids[i] is what <see cref="Generation.TokenSampler"/> draws from logits[i], but for the rounding of sums; -1 where a logit is NaN or infinite or none is finite, and
    /// what it was where nothing is to be drawn.
    /// </summary>
    /// <param name="logits"><c>[rows, ids]</c>, each row dense.</param>
    /// <param name="rows">A <see cref="SampledRow"/> for each, Int32 on the device.</param>
    /// <param name="seen">Int32 <c>[slots, ids / 32]</c>: a bit for each id that was there; null without a penalty.</param>
    /// <param name="ids">Int32, one for each row.</param>
    /// <param name="rule">How.</param>
    void SampleRows(Tensor logits, Tensor rows, Tensor? seen, Tensor ids, SamplingRule rule);
}
