namespace Varlen.Backends.Cuda.Attention;

/// <summary>Kernels that compute attention.</summary>
[Flags]
internal enum AttentionFamilies
{
    /// <summary>For every case.</summary>
    Portable = 0,

    /// <summary>A whole sequence and head in one block.</summary>
    Short = 1,

    /// <summary>For compute capability 9.0.</summary>
    Hopper = 2,

    /// <summary>Backward only: one pass over the scores, with atomic additions.</summary>
    OnePass = 4,
}

/// <summary>
/// Which kernels a sequence runs on: a function of its own lengths and of what the call's type, head dim and options allow, so that its bits do not
/// depend on the batch. docs/kernels.md says what the lengths between rest on.
/// </summary>
internal static class AttentionChoice
{
    /// <summary>Most queries and keys of a sequence that one block holds whole.</summary>
    public const int LongestShort = 64;

    /// <summary>Most queries and keys of a sequence that a block of the portable kernels shares with others; a pass of its own would begin with mostly empty tiles.</summary>
    public const int LongestSmall = 32;

    /// <summary>Queries from which three warpgroups share keys and values, at head dim 64.</summary>
    public const int FewestTall = 2048;

    /// <param name="span">The sequence.</param>
    /// <param name="allowed">Families that can take the call.</param>
    public static AttentionFamilies Of(AttentionSpan span, AttentionFamilies allowed)
    {
        int longest = Math.Max(span.Queries, span.Keys);
        return allowed.HasFlag(AttentionFamilies.Short) && longest <= LongestShort ? AttentionFamilies.Short
            : allowed.HasFlag(AttentionFamilies.Hopper) ? AttentionFamilies.Hopper
            : allowed.HasFlag(AttentionFamilies.OnePass) && longest > LongestSmall ? AttentionFamilies.OnePass
            : AttentionFamilies.Portable;
    }

    /// <summary>Lengths of the sequences, of as many queries as keys, that a family gets of those who can take the call.</summary>
    public static (int Shortest, int Longest) Lengths(AttentionFamilies family, AttentionFamilies allowed)
    {
        int shortest = allowed.HasFlag(AttentionFamilies.Short) ? LongestShort + 1 : 0;
        if (family == AttentionFamilies.Short) return (0, shortest - 1);
        AttentionFamilies longer = allowed.HasFlag(AttentionFamilies.Hopper) ? AttentionFamilies.Hopper : allowed & AttentionFamilies.OnePass;
        int onePass = Math.Max(shortest, LongestSmall + 1);
        if (longer == AttentionFamilies.OnePass && family == AttentionFamilies.Portable) return (shortest, onePass - 1);
        return family != longer ? (0, -1) : family == AttentionFamilies.OnePass ? (onePass, int.MaxValue) : (shortest, int.MaxValue);
    }

    /// <summary>Warpgroups of a forward tile on compute capability 9.0, each with 64 queries.</summary>
    public static int Groups(int headDim, int queries) => headDim == 128 ? 2 : queries < FewestTall ? 1 : 3;

    /// <summary>Queries of a step of the backward pass on compute capability 9.0.</summary>
    public static int BackwardQueries(int headDim) => headDim == 64 ? 128 : 64;
}
