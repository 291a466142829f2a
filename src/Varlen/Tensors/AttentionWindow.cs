namespace Varlen;

/// <summary>
/// Which keys a query sees: query i of a sequence sees key j iff <c>i + d - Left &lt;= j &lt;= i + d + Right</c>, where d aligns the
/// two sequences (see <see cref="AttentionAlignment"/>). A negative bound is infinite. Both bounds are inclusive, so
/// <c>(W, 0)</c> is the W previous keys and the query's own: W + 1 keys.
/// </summary>
/// <remarks>The default value sees every key.</remarks>
public readonly record struct AttentionWindow
{
    // One more than the bound, 0 for infinite, so that the default value is the full window.
    private readonly uint _left, _right;

    /// <summary>Makes a window.</summary>
    /// <param name="left">Keys before the aligned one that are visible; negative for all.</param>
    /// <param name="right">Keys after the aligned one that are visible; negative for all.</param>
    public AttentionWindow(int left, int right)
    {
        _left = (uint)(Math.Max(-1L, left) + 1);
        _right = (uint)(Math.Max(-1L, right) + 1);
    }

    /// <summary>Keys before the aligned one that are visible; -1 for all.</summary>
    public int Left => (int)(_left - 1L);

    /// <summary>Keys after the aligned one that are visible; -1 for all.</summary>
    public int Right => (int)(_right - 1L);

    /// <summary>Every key: (-1, -1).</summary>
    public static AttentionWindow Full => new(-1, -1);

    /// <summary>The aligned key and all before it: (-1, 0).</summary>
    public static AttentionWindow Causal => new(-1, 0);

    /// <summary>The aligned key and the <paramref name="previous"/> before it: (previous, 0), which is previous + 1 keys.</summary>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="previous"/> is negative.</exception>
    public static AttentionWindow SlidingCausal(int previous)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(previous);
        return new(previous, 0);
    }

    /// <summary>Whether every key is visible.</summary>
    public bool IsFull => Left < 0 && Right < 0;

    /// <summary>
    /// First and one-past-last visible key of a query, clipped to the sequence; the range is empty (first >= end) when it sees none.
    /// </summary>
    /// <param name="query">Index of the query in its sequence.</param>
    /// <param name="shift">The alignment's d.</param>
    /// <param name="keys">Length of the key sequence.</param>
    public (int First, int End) Range(int query, int shift, int keys)
    {
        // 64-bit: a window of int.MaxValue must not overflow.
        long center = (long)query + shift;
        long first = Left < 0 ? 0 : Math.Clamp(center - Left, 0, keys);
        long end = Right < 0 ? keys : Math.Clamp(center + Right + 1, 0, keys);
        return ((int)first, (int)Math.Max(first, end));
    }

    /// <summary>For example "(-1, 0)".</summary>
    public override string ToString() => $"({Left}, {Right})";
}

/// <summary>How a query sequence lines up with a key sequence of another length.</summary>
public enum AttentionAlignment
{
    /// <summary>The last query sees the last key: d = keys - queries. FlashAttention's meaning and the default.</summary>
    BottomRight,
    /// <summary>The first query lines up with the first key: d = 0. The meaning of <c>is_causal</c> in PyTorch's SDPA.</summary>
    TopLeft,
}
