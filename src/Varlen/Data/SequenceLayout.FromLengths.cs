using System.Numerics;

namespace Varlen;

public sealed partial class SequenceLayout
{
    /// <summary>A layout of sequences of these lengths, in this order.</summary>
    /// <param name="lengths">Tokens of each sequence; 0 is legal, and so is no sequence at all.</param>
    /// <exception cref="ArgumentException">A length is negative, or the total passes <see cref="int.MaxValue"/>; the message names the index.</exception>
    public static SequenceLayout FromLengths(ReadOnlySpan<int> lengths)
    {
        var offsets = new int[lengths.Length + 1];
        long total = 0;
        for (int i = 0; i < lengths.Length; i++)
        {
            if (lengths[i] < 0) throw new ArgumentException($"lengths[{i}] = {lengths[i]} is negative; lengths count tokens from 0", nameof(lengths));
            total += lengths[i];
            if (total > int.MaxValue)
                throw new ArgumentException($"lengths[{i}] = {lengths[i]} takes the total to {total} tokens, above {int.MaxValue}; split the batch", nameof(lengths));
            offsets[i + 1] = (int)total;
        }
        return new(offsets);
    }

    /// <summary>A layout from cumulative lengths, as FlashAttention's <c>cu_seqlens</c>.</summary>
    /// <param name="offsets">Where each sequence starts and the total at the end: <c>[N + 1]</c>, first 0, never decreasing. Copied.</param>
    /// <param name="totalTokens">The number of packed tokens, which the last offset must equal; null when not known.</param>
    /// <exception cref="ArgumentException">The offsets break a rule; the message names the index.</exception>
    public static SequenceLayout FromCuSeqlens(ReadOnlySpan<int> offsets, int? totalTokens = null)
    {
        RequireOffsets(offsets, totalTokens, nameof(offsets));
        return new(offsets.ToArray());
    }

    /// <inheritdoc cref="FromCuSeqlens(ReadOnlySpan{int}, int?)"/>
    public static SequenceLayout FromCuSeqlens(ReadOnlySpan<long> offsets, long? totalTokens = null)
    {
        RequireOffsets(offsets, totalTokens, nameof(offsets));
        var narrow = new int[offsets.Length];
        for (int i = 0; i < narrow.Length; i++)
        {
            if (offsets[i] > int.MaxValue)
                throw new ArgumentException($"offsets[{i}] = {offsets[i]} is above {int.MaxValue}; split the batch", nameof(offsets));
            narrow[i] = (int)offsets[i];
        }
        return new(narrow);
    }

    private static void RequireOffsets<T>(ReadOnlySpan<T> offsets, T? totalTokens, string parameter) where T : struct, IBinaryInteger<T>
    {
        if (offsets.IsEmpty)
            throw new ArgumentException("there are no offsets; N sequences have N + 1, and no sequence has the one offset 0", parameter);
        if (!T.IsZero(offsets[0]))
            throw new ArgumentException($"offsets[0] = {offsets[0]}; the first sequence starts at token 0", parameter);
        for (int i = 1; i < offsets.Length; i++)
            if (offsets[i] < offsets[i - 1])
                throw new ArgumentException($"offsets[{i}] = {offsets[i]} follows {offsets[i - 1]}; offsets must not decrease", parameter);
        if (totalTokens is { } total && offsets[^1] != total)
            throw new ArgumentException($"offsets[{offsets.Length - 1}] = {offsets[^1]}, and there are {total} tokens; the last offset is their number", parameter);
    }
}
