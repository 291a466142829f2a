using Varlen.Backends.Cpu;

namespace Varlen.Generation;

/// <summary>
/// Draws ids from logits: lowered by a penalty for tokens that were there, divided by a temperature, then only the <c>topK</c> likeliest, then of those the fewest that together have a
/// probability of at least <c>topP</c>. The n-th draw is a function of seed, n and logits alone.
/// </summary>
internal sealed class TokenSampler
{
    private readonly double _temperature, _topP, _penalty;
    private readonly int _topK;
    private readonly ulong _seed;
    private double[] _weights = [];
    private ulong[] _order = [];

    /// <exception cref="ArgumentOutOfRangeException">A number is out of range.</exception>
    public TokenSampler(double temperature, int? topK, double? topP, ulong seed, double repetitionPenalty = 1)
    {
        Check(temperature, topK, topP, repetitionPenalty);
        (_temperature, _topK, _topP, _seed, _penalty) = (temperature, topK ?? int.MaxValue, topP ?? 1, seed, repetitionPenalty);
    }

    /// <exception cref="ArgumentOutOfRangeException">A number is out of range.</exception>
    public static void Check(double temperature, int? topK, double? topP, double repetitionPenalty)
    {
        if (!(temperature >= 0 && double.IsFinite(temperature))) throw new ArgumentOutOfRangeException(nameof(temperature), temperature, "the temperature must be finite and not negative; 0 takes the likeliest token");
        if (topK < 1) throw new ArgumentOutOfRangeException(nameof(topK), topK, "at least 1 token must be kept; leave it out to keep all");
        if (topP is { } p && !(p > 0 && p <= 1)) throw new ArgumentOutOfRangeException(nameof(topP), topP, "the kept probability must be above 0 and at most 1");
        if (!(repetitionPenalty > 0 && double.IsFinite(repetitionPenalty))) throw new ArgumentOutOfRangeException(nameof(repetitionPenalty), repetitionPenalty, "the penalty must be finite and positive; 1 changes nothing");
    }

    /// <param name="logits">One for each id.</param>
    /// <param name="n">Number of the draw.</param>
    /// <param name="seen">Ids whose logits the penalty lowers; null for none.</param>
    /// <exception cref="InvalidOperationException">No logit is finite, or one is NaN or infinite.</exception>
    public int Draw(ReadOnlySpan<float> logits, long n, IEnumerable<int>? seen = null)
    {
        if (seen is not null && _penalty != 1) logits = Penalised(logits, seen);
        int top = 0;
        for (int i = 0; i < logits.Length; i++)
        {
            if (float.IsNaN(logits[i]) || float.IsPositiveInfinity(logits[i])) throw new InvalidOperationException($"the model's logit of id {i} is {logits[i]}; its weights are damaged or its training has diverged");
            if (logits[i] > logits[top]) top = i;
        }
        if (float.IsNegativeInfinity(logits[top])) throw new InvalidOperationException("the model gives every id a probability of 0; its weights are damaged");
        if (_temperature == 0) return top;
        if (_weights.Length < logits.Length) (_weights, _order) = (new double[logits.Length], new ulong[logits.Length]);
        Span<double> weights = _weights.AsSpan(0, logits.Length);
        double total = 0;
        for (int i = 0; i < weights.Length; i++) total += weights[i] = Math.Exp(((double)logits[i] - logits[top]) / _temperature);
        (uint w0, uint w1, _, _) = Philox.Block((uint)n, (uint)(n >>> 32), 0, 4, (uint)_seed, (uint)(_seed >> 32));
        double uniform = ((w0 >> 5) * 67108864.0 + (w1 >> 6)) / 9007199254740992.0;
        return _topK >= logits.Length && _topP == 1 ? Pick(weights, uniform * total) : PickLikely(logits, weights, total, uniform);
    }

    private float[] Penalised(ReadOnlySpan<float> logits, IEnumerable<int> seen)
    {
        float[] lowered = logits.ToArray();
        foreach (int id in seen) lowered[id] = (float)(logits[id] > 0 ? logits[id] / _penalty : logits[id] * _penalty);
        return lowered;
    }

    private static int Pick(ReadOnlySpan<double> weights, double at)
    {
        int last = 0;
        for (int i = 0; i < weights.Length; i++)
        {
            if (weights[i] == 0) continue;
            if ((at -= weights[last = i]) < 0) return i;
        }
        return last;
    }

    private int PickLikely(ReadOnlySpan<float> logits, ReadOnlySpan<double> weights, double total, double uniform)
    {
        // Ids below this together have less than what may be left out, so none of them is among the kept, and need not be sorted.
        double least = _topK >= logits.Length ? total * (1 - _topP) / logits.Length : 0;
        int count = 0;
        for (int i = 0; i < logits.Length; i++)
            if (weights[i] > 0 && weights[i] >= least) _order[count++] = (ulong)Descending(logits[i]) << 32 | (uint)i;
        Span<ulong> order = _order.AsSpan(0, count);
        order.Sort();
        if (count > _topK) order = order[.._topK];
        double kept = 0;
        // The probabilities that topP speaks of are those after topK.
        if (_topK < logits.Length)
        {
            total = 0;
            foreach (ulong key in order) total += weights[(int)(uint)key];
        }
        int end = 0;
        while (end < order.Length && (end == 0 || kept < _topP * total)) kept += weights[(int)(uint)order[end++]];
        double at = uniform * kept;
        foreach (ulong key in order[..end])
            if ((at -= weights[(int)(uint)key]) < 0) return (int)(uint)key;
        return (int)(uint)order[end - 1];
    }

    // Unsigned order that is the reverse of the floats'; equal ones are then ordered by id.
    private static uint Descending(float value)
    {
        // Both zeros are one value.
        uint bits = BitConverter.SingleToUInt32Bits(value + 0f);
        return (bits & 0x80000000) != 0 ? bits : ~(bits | 0x80000000);
    }
}
