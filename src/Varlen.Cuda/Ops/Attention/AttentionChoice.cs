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
}

/// <summary>
/// Which kernels a sequence runs on: a function of its own lengths and of what the call's type, head dim and options allow, so that its bits do not
/// depend on the batch. docs/kernels.md says what the lengths between rest on.
/// </summary>
internal static class AttentionChoice
{
    /// <summary>Most queries and keys of a sequence that one block holds whole.</summary>
    public const int LongestShort = 64;

    /// <summary>Queries from which three warpgroups share keys and values, at head dim 64.</summary>
    public const int FewestTall = 2048;

    /// <param name="span">The sequence.</param>
    /// <param name="allowed">Families that can take the call.</param>
    public static AttentionFamilies Of(AttentionSpan span, AttentionFamilies allowed)
        => allowed.HasFlag(AttentionFamilies.Short) && Math.Max(span.Queries, span.Keys) <= LongestShort ? AttentionFamilies.Short : allowed & AttentionFamilies.Hopper;

    /// <summary>Lengths of the sequences, of as many queries as keys, that a family gets of those who can take the call.</summary>
    public static (int Shortest, int Longest) Lengths(AttentionFamilies family, AttentionFamilies allowed)
    {
        int shortest = allowed.HasFlag(AttentionFamilies.Short) ? LongestShort + 1 : 0;
        return family == AttentionFamilies.Short ? (0, shortest - 1) : family == (allowed & AttentionFamilies.Hopper) ? (shortest, int.MaxValue) : (0, -1);
    }

    /// <summary>Warpgroups of a forward tile on compute capability 9.0, each with 64 queries.</summary>
    public static int Groups(int headDim, int queries) => headDim == 128 ? 2 : queries < FewestTall ? 1 : 3;

    /// <summary>Queries of a step of the backward pass on compute capability 9.0.</summary>
    public static int BackwardQueries(int headDim) => headDim == 64 ? 128 : 64;
}
