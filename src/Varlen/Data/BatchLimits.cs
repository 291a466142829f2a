namespace Varlen.Data;

/// <summary>What the batches of a captured step may hold. The step always computes <see cref="Tokens"/> rows, those behind a batch's last token as padding.</summary>
/// <param name="Tokens">Most tokens of a batch.</param>
/// <param name="Sequences">Most sequences of a batch.</param>
public readonly record struct BatchLimits(int Tokens, int Sequences)
{
    internal BatchLimits Checked(string parameter)
    {
        if (Tokens < 1) throw new ArgumentOutOfRangeException(parameter, Tokens, "batches need room for at least one token");
        if (Sequences < 1) throw new ArgumentOutOfRangeException(parameter, Sequences, "batches need room for at least one sequence");
        return this;
    }
}
