namespace Varlen.Backends.Cpu.Attention;

/// <summary>
/// One operand of an attention call: element (batch b, token t, head h, feature d) lies at
/// <c>Data + b * BatchStride + t * TokenStride + h * HeadStride + d</c>, in elements. Features are contiguous.
/// Packed operands have batch 0 throughout; dense ones have token 0 as each sequence's start.
/// </summary>
internal unsafe struct AttentionOperand
{
    /// <summary>First element, or null when the operand is absent (a gradient that nobody wants, for example).</summary>
    public void* Data;
    public DType DType;
    public long BatchStride, TokenStride, HeadStride;
    /// <summary>For a gradient destination: add to what is there instead of overwriting it.</summary>
    public bool Accumulate;
}

/// <summary>
/// A boolean (true = attend) or additive mask over [batch, query head, query token, key token]; a broadcast dimension has stride 0.
/// Tokens are counted as in the operands: from the sequence's start when dense, through all sequences when packed.
/// </summary>
internal unsafe struct AttentionMask
{
    public void* Data;
    public DType DType;
    public long BatchStride, HeadStride, QueryStride, KeyStride;
}

/// <summary>One sequence: where its queries and keys start, how many there are, and its stable identity for dropout.</summary>
internal unsafe struct AttentionSequence
{
    public long Batch, QueryToken, KeyToken;
    public int QueryLength, KeyLength;
    public ulong DocumentKey;
    /// <summary>The pages that the keys lie on, in order, or null when they lie in one piece from <see cref="KeyToken"/>.</summary>
    public int* Pages;
    public int PageSize;

    /// <summary>Where key <paramref name="key"/> lies.</summary>
    public readonly long TokenOf(int key) => Pages == null ? KeyToken + key : ((long)Pages[key / PageSize] * PageSize) + (key % PageSize);

    /// <summary>Keys from <paramref name="key"/> on that lie in one piece.</summary>
    public readonly int Together(int key) => Pages == null ? KeyLength - key : Math.Min(KeyLength - key, PageSize - (key % PageSize));
}

/// <summary>
/// Everything an attention kernel needs except its operands. Score of query i and key j of one sequence, with d the alignment's
/// shift: <c>softcap(scale * q.k) - slope_h * |i + d - j| (+ additive mask)</c>, visible iff the window and the boolean mask say so.
/// </summary>
internal unsafe struct AttentionProblem
{
    public int QueryHeads, KeyHeads, HeadDim;
    public AttentionSequence* Sequences;
    public int SequenceCount;
    public AttentionWindow Window;
    public AttentionAlignment Alignment;
    public double Scale;
    /// <summary>0 = off.</summary>
    public double Softcap;
    /// <summary>[QueryHeads], or null.</summary>
    public double* AlibiSlopes;
    public AttentionMask Mask;
    /// <summary>Probability of dropping a link; 0 = off. Kept links are scaled by 1 / (1 - p); the log-sum-exp is not affected.</summary>
    public double Dropout;
    public ulong DropoutSeed;
    public long DropoutStep;
    public int DropoutLayer;

    /// <summary>The alignment's d for one sequence.</summary>
    public readonly int Shift(in AttentionSequence sequence)
        => Alignment == AttentionAlignment.BottomRight ? sequence.KeyLength - sequence.QueryLength : 0;

    /// <summary>Whether every query sees every key of its sequence.</summary>
    public readonly bool SeesAll => Window.IsFull && Mask.Data == null;
}
