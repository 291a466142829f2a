namespace Varlen.Data;

/// <summary>What the batches of a captured step may hold. The step always computes <see cref="Tokens"/> rows, those behind a batch's last token as padding.</summary>
/// <param name="Tokens">Most tokens of a batch, or rows of one that is padded.</param>
/// <param name="Sequences">Most sequences of a batch.</param>
public readonly record struct BatchLimits(int Tokens, int Sequences)
{
    /// <summary>Limits of batches that are made of some sequences, each at most once, within a budget of tokens.</summary>
    internal static BatchLimits Of(ReadOnlySpan<SequenceChunk> sequences, int tokens)
    {
        var lengths = new int[sequences.Length];
        for (int i = 0; i < lengths.Length; i++) lengths[i] = sequences[i].Length;
        Array.Sort(lengths);
        int count = 0;
        for (long sum = 0; count < lengths.Length && (sum += lengths[count]) <= tokens; count++)
        {
        }
        return new(tokens, Math.Max(1, count));
    }

    internal BatchLimits Checked(string parameter)
    {
        if (Tokens < 1) throw new ArgumentOutOfRangeException(parameter, Tokens, "batches need room for at least one token");
        if (Sequences < 1) throw new ArgumentOutOfRangeException(parameter, Sequences, "batches need room for at least one sequence");
        return this;
    }
}
