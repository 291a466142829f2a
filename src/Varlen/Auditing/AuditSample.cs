using Varlen.Data;

namespace Varlen.Auditing;

/// <summary>Documents to audit with: some of the data, or random ones of awkward lengths.</summary>
public static class AuditSample
{
    /// <summary>Sequences of a plan: the shortest, the longest, one cut to its first token, one to its first two, and others at random; in random order.</summary>
    /// <param name="store">The documents.</param>
    /// <param name="plan">A plan of that store.</param>
    /// <param name="count">Most sequences.</param>
    /// <param name="tokens">Most tokens of all together; a sequence has at most a quarter of them and is cut to that.</param>
    /// <param name="seed">Seed of the choice.</param>
    public static IReadOnlyList<TokenSequence> Of(TokenStore store, SequencePlan plan, int count, int tokens, ulong seed = 1)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(tokens, 4);
        SequenceChunk[] chunks = [.. plan.Training.Span, .. plan.HeldOut.Span];
        if (chunks.Length == 0) return [];
        var random = new Randomness(seed);
        SequenceChunk shortest = chunks.MinBy(chunk => chunk.Length), longest = chunks.MaxBy(chunk => chunk.Length);
        random.Shuffle(chunks.AsSpan());
        var chosen = new List<TokenSequence>();
        int left = tokens;
        foreach ((SequenceChunk chunk, int most) in chunks.Where(chunk => chunk != shortest && chunk != longest).Select((chunk, i) => (chunk, i < 2 ? i + 1 : int.MaxValue)).Prepend((longest, int.MaxValue)).Prepend((shortest, int.MaxValue)).Distinct().Take(count))
        {
            int length = Math.Min(Math.Min(chunk.Length, most), tokens / 4);
            if (length > left) continue;
            left -= length;
            var ids = new int[length + 1];
            store.CopyTokens(chunk.Document, chunk.Start, ids);
            chosen.Add(new(ids.AsMemory(0, length), ids.AsMemory(1)));
        }
        TokenSequence[] order = [.. chosen];
        random.Shuffle(order.AsSpan());
        return order;
    }

    /// <summary>
    /// Documents of random ids: of 1, 2 and 3 tokens, of those around the context and its double, and of random lengths up to twice the context.
    /// </summary>
    /// <param name="count">How many; at least 20, so that whole ones are held out.</param>
    /// <param name="context">Longest sequence that they will be cut to.</param>
    /// <param name="vocabularySize">Ids are below it.</param>
    /// <param name="seed">Seed.</param>
    public static IReadOnlyList<int[]> Random(int count, int context, int vocabularySize, ulong seed = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 20);
        ArgumentOutOfRangeException.ThrowIfLessThan(context, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(vocabularySize, 1);
        var random = new Randomness(seed);
        int[] awkward = [1, 2, 3, context - 1, context, context + 1, context + 2, 2 * context, 2 * context + 1, 2 * context + 2];
        int[] lengths = [.. Enumerable.Range(0, count).Select(i => Math.Max(1, i < awkward.Length ? awkward[i] : 1 + random.Next(2 * context)))];
        random.Shuffle(lengths.AsSpan());
        return [.. lengths.Select(length => Enumerable.Range(0, length).Select(_ => random.Next(vocabularySize)).ToArray())];
    }

    /// <summary>
    /// Tokens for which an audit of a model ends within about a minute on a few cores: fewer for a larger model or vocabulary.
    /// </summary>
    /// <param name="parameters">Trained values of the model.</param>
    /// <param name="vocabularySize">Its ids.</param>
    public static int TokensFor(long parameters, int vocabularySize)
        => (int)Math.Clamp(Math.Min(1.5e10 / Math.Max(1, parameters), 3e7 / Math.Max(1, vocabularySize)), 128, 2048);
}
