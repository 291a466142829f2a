namespace Varlen.Backends.Cpu.Attention;

/// <summary>What lies between a product of query and key and its weight, for one sequence and query head, in double precision.</summary>
internal readonly unsafe struct ReferenceScores
{
    private readonly double _scale, _softcap, _slope;
    private readonly int _shift, _head;
    private readonly AttentionMask _mask;
    private readonly long _maskOrigin;
    private readonly bool _drops;
    private readonly AttentionDropout _dropout;

    internal ReferenceScores(in AttentionProblem problem, in AttentionSequence sequence, int head)
    {
        _scale = problem.Scale;
        _softcap = problem.Softcap;
        _slope = problem.AlibiSlopes == null ? 0 : problem.AlibiSlopes[head];
        _shift = problem.Shift(sequence);
        _head = head;
        _mask = problem.Mask;
        _maskOrigin = (sequence.Batch * _mask.BatchStride) + (head * _mask.HeadStride)
            + (sequence.QueryToken * _mask.QueryStride) + (sequence.KeyToken * _mask.KeyStride);
        _drops = problem.Dropout > 0;
        _dropout = _drops ? new AttentionDropout(problem, sequence) : default;
    }

    /// <summary>Whether the mask hides the key; minus infinity in an additive mask does. The window is the caller's concern.</summary>
    internal bool Hides(int query, int key) => _mask.Data != null && MaskValue(query, key) == double.NegativeInfinity;

    internal double Score(double product, int query, int key)
    {
        double score = _scale * product;
        if (_softcap != 0) score = _softcap * Math.Tanh(score / _softcap);
        if (_slope != 0) score -= _slope * Math.Abs((double)query + _shift - key);
        return _mask.Data == null ? score : score + MaskValue(query, key);
    }

    /// <summary>d score / d product.</summary>
    internal double Slope(double product)
    {
        if (_softcap == 0) return _scale;
        double t = Math.Tanh(_scale * product / _softcap);
        return _scale * (1 - (t * t));
    }

    /// <summary>What dropout multiplies the link's weight by.</summary>
    internal double Keep(int query, int key) => !_drops ? 1 : _dropout.Drops(_head, query, key) ? 0 : _dropout.Keep;

    private double MaskValue(int query, int key)
    {
        long offset = _maskOrigin + (query * _mask.QueryStride) + (key * _mask.KeyStride);
        if (_mask.DType == DType.Bool) return ((byte*)_mask.Data)[offset] != 0 ? 0 : double.NegativeInfinity;
        return ReferenceRow.Element(_mask.Data, _mask.DType, offset);
    }
}
