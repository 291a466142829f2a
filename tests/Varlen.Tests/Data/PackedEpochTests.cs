using Varlen.Data;
using Xunit;

namespace Varlen.Tests.Data;

public sealed class PackedEpochTests
{
    private static readonly PackingPolicy[] Policies = Enum.GetValues<PackingPolicy>();

    [Fact]
    public void Every_token_is_in_one_batch_and_no_batch_is_over_its_budget()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        for (int round = 0; round < 400; round++)
            foreach (PackingPolicy policy in Policies)
            {
                int budget = random.Next(1, 200);
                SequenceChunk[] chunks = Draw(random, random.Next(300), budget);
                int epochNumber = random.Next(10);
                PackedEpoch epoch = PackedEpoch.Create(chunks, budget, policy, seed, epochNumber), again = PackedEpoch.Create(chunks, budget, policy, seed, epochNumber);
                var tokens = new HashSet<(int, long)>();
                int sequences = 0;
                for (int batch = 0; batch < epoch.Count; batch++)
                {
                    Assert.True(epoch[batch].SequenceEqual(again[batch]));
                    int total = 0;
                    foreach (SequenceChunk chunk in epoch[batch])
                    {
                        total += chunk.Length;
                        sequences++;
                        for (long token = chunk.Start; token < chunk.Start + chunk.Length; token++) Assert.True(tokens.Add((chunk.Document, token)), $"seed {seed}, round {round}, {policy}");
                    }
                    Assert.InRange(total, 1, budget);
                    if (policy == PackingPolicy.Concat && batch < epoch.Count - 1) Assert.Equal(budget, total);
                }
                Assert.Equal(chunks.Sum(chunk => chunk.Length), tokens.Count);
                if (policy != PackingPolicy.Concat) Assert.Equal(chunks.Length, sequences);
            }
    }

    [Fact]
    public void Epochs_and_seeds_differ_in_order()
    {
        SequenceChunk[] chunks = Draw(new Random(1), 500, 100);
        foreach (PackingPolicy policy in Policies)
        {
            (int Seed, int Epoch)[] draws = [(1, 0), (1, 1), (2, 0)];
            Assert.Equal(3, draws.Select(draw => string.Join(' ', PackedEpoch.Create(chunks, 1000, policy, draw.Seed, draw.Epoch)[0].ToArray().Select(chunk => chunk.Document))).Distinct().Count());
        }
    }

    [Fact]
    public void Best_fit_wastes_little_and_keeps_lengths_mixed()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        // Lengths up to the whole budget, skewed to short ones: whatever is left beside a long one can be filled.
        SequenceChunk[] chunks = [.. Stores.DrawLengths(random, 5000, 1000).Select((length, document) => new SequenceChunk(document, 0, length))];
        double best = Fill(PackedEpoch.Create(chunks, 1024, PackingPolicy.BestFit, seed, 0), 1024), first = Fill(PackedEpoch.Create(chunks, 1024, PackingPolicy.FirstFit, seed, 0), 1024);
        Assert.True(best >= 0.97 && best >= first - 0.005, $"seed {seed}: {best} against {first}");

        // Short sequences: no batch may consist of the longest alone.
        SequenceChunk[] small = [.. Enumerable.Range(0, 4000).Select(document => new SequenceChunk(document, 0, document % 2 == 0 ? 10 : 100))];
        PackedEpoch epoch = PackedEpoch.Create(small, 1000, PackingPolicy.BestFit, seed, 0);
        int mixed = 0;
        for (int batch = 0; batch < epoch.Count; batch++)
            if (epoch[batch].ToArray().Select(chunk => chunk.Length).Distinct().Count() == 2) mixed++;
        Assert.True(mixed > epoch.Count * 0.6, $"seed {seed}: {mixed} of {epoch.Count} are mixed");
    }

    [Fact]
    public void What_does_not_fit_is_named()
    {
        SequenceChunk[] chunks = [new(0, 0, 3), new(1, 0, 9)];
        Assert.Contains("sequence 1 has 9 tokens", Assert.Throws<ArgumentException>(() => PackedEpoch.Create(chunks, 8, PackingPolicy.BestFit, 1, 0)).Message, StringComparison.Ordinal);
        Assert.Equal(2, PackedEpoch.Create(chunks, 8, PackingPolicy.Concat, 1, 0).Count);
        Assert.Equal(0, PackedEpoch.Create([], 8, PackingPolicy.BestFit, 1, 0).Count);
    }

    [Fact]
    public void Padding_is_compared_for_the_same_batches()
    {
        using var folder = new TemporaryFolder();
        // 19 documents of 11 tokens have 190 links, of which the last 10 are held out: 18 sequences of 10.
        using TokenStore equal = Stores.Create(folder, Enumerable.Repeat(11, 19)), two = Stores.Create(folder, [5, 9, 3]);
        PackingReport report = PackingReport.Create(SequencePlan.Create(equal, 20, 1), 60, PackingPolicy.FirstFit);
        Assert.Equal((3, 18, 180, 1.0), (report.Batches, report.Sequences, report.Tokens, report.Fill));
        Assert.Equal(new PaddingCost(1, 1), report.ToLongest);
        Assert.Equal(new PaddingCost(2, 4), report.ToMaximum);
        // Sequences of 4, 8 and 1 tokens; the last token is held out. One batch: 3 rows of 8.
        PackingReport mixed = PackingReport.Create(SequencePlan.Create(two, 16, 1), 16, PackingPolicy.BestFit);
        Assert.Equal((1, 3, 13), (mixed.Batches, mixed.Sequences, mixed.Tokens));
        Assert.Equal(new PaddingCost(24.0 / 13, 192.0 / 81), mixed.ToLongest);
        Assert.Equal(new PaddingCost(48.0 / 13, 768.0 / 81), mixed.ToMaximum);
    }

    private static double Fill(PackedEpoch epoch, int budget)
    {
        long tokens = 0;
        for (int batch = 0; batch < epoch.Count; batch++)
            foreach (SequenceChunk chunk in epoch[batch]) tokens += chunk.Length;
        return (double)tokens / ((double)epoch.Count * budget);
    }

    private static SequenceChunk[] Draw(Random random, int count, int longest)
        => [.. Enumerable.Range(0, count).Select(document => new SequenceChunk(document, random.Next(1000), 1 + (int)(Math.Pow(random.NextDouble(), 2) * longest)))];
}
