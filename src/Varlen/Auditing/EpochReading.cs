using Varlen.Data;

namespace Varlen.Auditing;

/// <summary>What batches held in all.</summary>
internal readonly record struct TokenTally(int Batches, long Sequences, long Inputs, long Targets);

/// <summary>Reads batches back and compares each sequence with the document that it says it is of.</summary>
internal sealed class EpochReading(TokenStore store, SequencePlaces places, Comparison labels)
{
    private int[] _document = [], _next = [];

    /// <summary>Reads batches to their end.</summary>
    public TokenTally Read(string part, IEnumerable<TokenBatch> batches, TargetCoverage coverage)
    {
        var tally = new TokenTally();
        foreach (TokenBatch batch in batches)
        {
            using (batch)
            {
                int[] tokens = batch.Tokens.ToArray<int>(), targets = batch.Targets.ToArray<int>(), positions = batch.Positions.ToArray<int>();
                for (int i = 0; i < batch.Layout.Count; i++)
                {
                    (int first, int count) = AuditedModel.RowsOf(batch, i);
                    if (count == 0) continue;
                    string? why = Compare(places.Take(batch.Layout.DocumentKeys[i], count), tokens.AsSpan(first, count), targets.AsSpan(first, count), positions.AsSpan(first, count), coverage);
                    if (why is not null) labels.Require(false, $"{part}, batch {tally.Batches}, sequence {i}: {why}");
                }
                int counted = targets.Length - targets.AsSpan().Count(PackedBatch.IgnoreIndex);
                if (counted != batch.TargetCount) labels.Require(false, $"{part}, batch {tally.Batches}: the loss would be divided by {batch.TargetCount} targets, and {counted} count");
                tally = new(tally.Batches + 1, tally.Sequences + batch.Layout.Count, tally.Inputs + batch.RealTokens, tally.Targets + batch.TargetCount);
            }
        }
        return tally;
    }

    private string? Compare(SequenceChunk? place, ReadOnlySpan<int> tokens, ReadOnlySpan<int> targets, ReadOnlySpan<int> positions, TargetCoverage coverage)
    {
        if (place is not { } chunk) return "it is at no place that the plan knows";
        int count = tokens.Length;
        if (chunk.Start + count >= store.Length(chunk.Document)) return $"{count} tokens from token {chunk.Start} pass the end of document {chunk.Document}, which has {store.Length(chunk.Document)}";
        if (_document.Length < count) (_document, _next) = (new int[2 * count], new int[2 * count]);
        Span<int> document = _document.AsSpan(0, count), next = _next.AsSpan(0, count);
        store.CopyTokens(chunk.Document, chunk.Start, document);
        store.CopyTargets(chunk.Document, chunk.Start + 1, next);
        coverage.Add(chunk.Document, chunk.Start, count);
        int at = tokens.CommonPrefixLength(document);
        if (at < count) return $"token {chunk.Start + at} of document {chunk.Document} is {document[at]}, and {tokens[at]} in the batch";
        at = targets.CommonPrefixLength(next);
        if (at < count) return $"the target of token {chunk.Start + at} of document {chunk.Document} is {targets[at]}, and {(next[at] == PackedBatch.IgnoreIndex ? "a token that is not trained" : next[at])} follows it";
        // As when it is joined with what follows it in its own document: all tokens are right, but no model was asked to see so many.
        if (count > chunk.Length) return $"{count} tokens from token {chunk.Start} of document {chunk.Document} are one sequence, and the plan cuts after {chunk.Length}";
        for (at = 0; at < count; at++)
            if (positions[at] != at) return $"token {at} of the sequence has the position {positions[at]}";
        return null;
    }
}

/// <summary>Finds where in the store a sequence is, by the key that it carries. What stands there is compared by others.</summary>
internal sealed class SequencePlaces
{
    private readonly Dictionary<ulong, SequenceChunk> _places = [];

    public SequencePlaces(TokenStore store, SequencePlan plan)
    {
        foreach (SequenceChunk chunk in plan.Training.Span) Add(store, chunk);
        foreach (SequenceChunk chunk in plan.HeldOut.Span) Add(store, chunk);
    }

    /// <summary>The place of a sequence of some tokens; null when there is none of this key.</summary>
    public SequenceChunk? Take(ulong key, int count)
    {
        if (!_places.TryGetValue(key, out SequenceChunk chunk)) return null;
        // A sequence that was cut goes on in a later batch, under the key of that place.
        if (count < chunk.Length)
        {
            SequenceChunk rest = chunk with { Start = chunk.Start + count, Length = chunk.Length - count };
            _places[rest.Key] = rest;
        }
        return chunk;
    }

    private void Add(TokenStore store, SequenceChunk chunk)
    {
        if ((uint)chunk.Document < (uint)store.DocumentCount) _places[chunk.Key] = chunk;
    }
}
