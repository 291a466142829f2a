namespace Varlen.Data;

/// <summary>Groups sequences into batches of at most a number of tokens, in order: nothing is dropped, nothing is cut.</summary>
public static class SequencePacker
{
    /// <summary>Fills each batch until the next sequence does not fit.</summary>
    /// <param name="sequences">Sequences in the order of training.</param>
    /// <param name="tokenBudget">Most tokens of a batch; at least the longest sequence.</param>
    /// <exception cref="ArgumentException">A sequence alone exceeds the budget; the message names it.</exception>
    public static IEnumerable<IReadOnlyList<TokenSequence>> Pack(IEnumerable<TokenSequence> sequences, int tokenBudget)
    {
        ArgumentNullException.ThrowIfNull(sequences);
        var batch = new List<TokenSequence>();
        int tokens = 0, index = 0;
        foreach (TokenSequence sequence in sequences)
        {
            int length = sequence.Tokens.Length;
            if (length > tokenBudget) throw new ArgumentException($"sequence {index} has {length} tokens, more than the budget of {tokenBudget}", nameof(tokenBudget));
            if (tokens + length > tokenBudget)
            {
                yield return batch;
                batch = [];
                tokens = 0;
            }
            batch.Add(sequence);
            tokens += length;
            index++;
        }
        if (batch.Count > 0) yield return batch;
    }
}
