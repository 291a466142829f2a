using Varlen.Data;
using Xunit;

namespace Varlen.Tests.Data;

public sealed class SequencePlanTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Every_link_of_a_token_to_the_next_is_in_one_sequence()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        for (int round = 0; round < 100; round++)
        {
            int[] lengths = [.. Stores.DrawLengths(random, random.Next(1, 60), 50), 0, 1, 3];
            using TokenStore store = Stores.Create(_folder, lengths);
            int context = random.Next(1, 20);
            SequencePlan plan = SequencePlan.Create(store, context, random.Next());
            foreach (SequencePlan each in (SequencePlan[])[plan, SequencePlan.ForEvaluation(store, context)])
            {
                var seen = new HashSet<(int, long)>();
                foreach (SequenceChunk chunk in each.Training.ToArray().Concat(each.HeldOut.ToArray()))
                {
                    Assert.InRange(chunk.Length, 1, context);
                    for (long token = chunk.Start; token < chunk.Start + chunk.Length; token++) Assert.True(seen.Add((chunk.Document, token)) && token + 1 < lengths[chunk.Document], $"seed {seed}, round {round}");
                }
                Assert.Equal(lengths.Sum(length => Math.Max(0, length - 1)), seen.Count);
                Assert.Equal(seen.Count, each.TrainingTokens + each.HeldOutTokens);
                TokenCount inputs = each.Ledger.Inputs;
                Assert.Equal((lengths.Sum(), each.TrainingTokens, each.HeldOutTokens, lengths.Count(length => length > 0)), (inputs.Read, inputs.Trained, inputs.HeldOut, inputs.Ends));
            }
            Assert.NotEqual(0, plan.HeldOutTokens);
        }
    }

    [Fact]
    public void Whole_documents_are_held_out_of_many_and_the_end_of_few()
    {
        using TokenStore many = Stores.Create(_folder, Enumerable.Repeat(30, 200)), twenty = Stores.Create(_folder, Enumerable.Repeat(30, 20)), few = Stores.Create(_folder, Enumerable.Repeat(101, 19));
        SequencePlan plan = SequencePlan.Create(many, 8, 1);
        int[] held = [.. plan.HeldOut.ToArray().Select(chunk => chunk.Document).Distinct()];
        Assert.Equal(10, held.Length);
        Assert.DoesNotContain(plan.Training.ToArray(), chunk => held.Contains(chunk.Document));
        Assert.NotEqual(held, SequencePlan.Create(many, 8, 2).HeldOut.ToArray().Select(chunk => chunk.Document).Distinct());
        Assert.Single(SequencePlan.Create(twenty, 8, 1).HeldOut.ToArray().Select(chunk => chunk.Document).Distinct());

        SequencePlan end = SequencePlan.Create(few, 1000, 1);
        Assert.Equal([new SequenceChunk(18, 5, 95)], end.HeldOut.ToArray());
        Assert.Equal(new SequenceChunk(18, 0, 5), end.Training.Span[^1]);
    }

    [Fact]
    public void Plans_are_equal_when_data_and_settings_are()
    {
        using TokenStore store = Stores.Create(_folder, [40, 50]), same = Stores.Create(_folder, [40, 50]), other = Stores.Create(_folder, [50, 40]);
        string fingerprint = SequencePlan.Create(store, 8, 1).Fingerprint;
        Assert.Equal(fingerprint, SequencePlan.Create(same, 8, 1).Fingerprint);
        Assert.DoesNotContain(fingerprint, (string[])[SequencePlan.Create(other, 8, 1).Fingerprint, SequencePlan.Create(store, 9, 1).Fingerprint, SequencePlan.Create(store, 8, 2).Fingerprint, SequencePlan.ForEvaluation(store, 8).Fingerprint]);
    }

    [Fact]
    public void Too_little_text_is_an_error_and_an_unbalanced_ledger_too()
    {
        using TokenStore tiny = Stores.Create(_folder, [2]), none = Stores.Create(_folder, []);
        Assert.Contains("too little text", Assert.Throws<TextFormatException>(() => SequencePlan.Create(tiny, 8, 1)).Message, StringComparison.Ordinal);
        Assert.Throws<TextFormatException>(() => SequencePlan.Create(none, 8, 1));
        var right = new TokenCount(10, 6, 2, 1, 0, new Dictionary<string, long> { ["bad"] = 1 });
        Assert.NotNull(new TokenLedger(right, right).Balanced());
        Assert.Contains("ledger of Targets does not balance: 10 tokens were read, and 9", Assert.Throws<InvalidOperationException>(() => new TokenLedger(right, right with { Trained = 5 }).Balanced()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Lengths_are_counted()
    {
        LengthHistogram lengths = LengthHistogram.Of([5, 1, 2, 4, 8, 9]);
        Assert.Equal((6, 29, 1, 4, 9, 9, 9), (lengths.Count, lengths.Total, lengths.Shortest, lengths.Median, lengths.Percentile90, lengths.Percentile99, lengths.Longest));
        Assert.Equal([new(1, 1), new(2, 1), new(4, 1), new(8, 2), new(16, 1)], lengths.Buckets);
        Assert.Equal(0, LengthHistogram.Of([]).Mean);
    }
}
