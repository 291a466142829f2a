using Varlen.Data;
using Xunit;

namespace Varlen.Tests.Data;

/// <summary>Stores with targets that are not trained, and what plans, loaders and evaluations make of them.</summary>
public sealed class TrainedTargetsTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(300)]
    [InlineData(70_000)]
    public void Marks_come_back(int vocabulary)
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        // Longer than the block in which marks are written.
        bool[][] documents = [.. Enumerable.Range(0, 40).Select(i => Marks(random, i == 7 ? 600_000 : random.Next(300), random.Next(1, 100)))];
        using TokenStore store = Create(documents, vocabulary, random);
        store.Verify();
        Assert.False(store.IsTrainedWhole);
        for (int d = 0; d < documents.Length; d++)
        {
            int[] ids = store.Read(d), targets = new int[ids.Length];
            store.CopyTargets(d, 0, targets);
            Assert.True(targets.SequenceEqual(ids.Select((id, i) => documents[d][i] ? id : PackedBatch.IgnoreIndex)), $"seed {seed}, document {d}");
            for (int round = 0; round < 20; round++)
            {
                int start = random.Next(ids.Length + 1), length = random.Next(ids.Length - start + 1);
                var part = new int[length];
                store.CopyTargets(d, start, part);
                Assert.True(targets.AsSpan(start, length).SequenceEqual(part), $"seed {seed}, document {d}");
                Assert.Equal(documents[d].AsSpan(start, length).Count(true), store.CountTrained(d, start, length));
            }
            Assert.Throws<ArgumentOutOfRangeException>(() => store.CountTrained(d, 1, ids.Length));
        }
    }

    [Fact]
    public void Texts_have_no_marks_and_marks_are_part_of_the_data()
    {
        using TokenStore plain = Stores.Create(_folder, [30, 40]), marked = Create([[.. Enumerable.Repeat(true, 30)], [false, .. Enumerable.Repeat(true, 39)]], 60_000, null);
        Assert.True(plain.IsTrainedWhole);
        Assert.Equal(128 + 70 * 2 + 4 + 3 * 8, new FileInfo(plain.Path).Length);
        Assert.Equal(128 + 70 * 2 + 4 + 2 * 8 + 3 * 8, new FileInfo(marked.Path).Length);
        Assert.Equal(plain.Read(1), marked.Read(1));
        Assert.NotEqual(plain.ContentHash, marked.ContentHash);
        Assert.Equal(39, plain.CountTrained(1, 1, 39));
    }

    [Fact]
    public void Every_damaged_byte_is_noticed()
    {
        string path;
        using (TokenStore store = Create([[true, false, false], [], [false, true, true, true, false, true, false, true]], 60_000, null)) path = store.Path;
        byte[] whole = File.ReadAllBytes(path);
        for (int at = 0; at < whole.Length; at++)
            for (int bit = 0; bit < 8; bit += 3)
            {
                byte[] damaged = [.. whole];
                damaged[at] ^= (byte)(1 << bit);
                File.WriteAllBytes(path, damaged);
                Assert.Throws<TextFormatException>(() => { using TokenStore store = TokenStore.Open(path); store.Verify(); });
            }
        for (int length = 0; length < whole.Length; length++)
        {
            File.WriteAllBytes(path, whole[..length]);
            Assert.Throws<TextFormatException>(() => TokenStore.Open(path).Dispose());
        }
    }

    [Fact]
    public void Sequences_without_a_trained_target_are_left_out_and_the_ledger_balances()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        for (int round = 0; round < 100; round++)
        {
            // One that is trained whole, so that both parts hold something whatever is drawn.
            bool[][] documents = [.. Enumerable.Range(0, random.Next(1, 60)).Select(_ => Marks(random, random.Next(120), 15)), [false, true, true], [false, true, true], []];
            using TokenStore store = Create(documents, 60_000, null);
            int context = random.Next(1, 30);
            SequencePlan plan = SequencePlan.Create(store, context, random.Next()), evaluation = SequencePlan.ForEvaluation(store, context);
            foreach (SequencePlan each in (SequencePlan[])[plan, evaluation])
            {
                var seen = new HashSet<(int, long)>();
                foreach (SequenceChunk chunk in each.Training.ToArray().Concat(each.HeldOut.ToArray()))
                {
                    Assert.True(documents[chunk.Document].AsSpan((int)chunk.Start + 1, chunk.Length).Contains(true), $"seed {seed}, round {round}");
                    for (int i = 0; i < chunk.Length; i++) Assert.True(seen.Add((chunk.Document, chunk.Start + i)));
                }
                int links = documents.Sum(d => Math.Max(0, d.Length - 1)), trained = documents.Sum(d => d.Skip(1).Count(mark => mark)), ends = documents.Count(d => d.Length > 0);
                long left = links - seen.Count;
                // What is left out is untrained to the last.
                for (int d = 0; d < documents.Length; d++)
                    for (int i = 0; i < documents[d].Length - 1; i++)
                        if (!seen.Contains((d, i))) Assert.False(documents[d][i + 1], $"seed {seed}, round {round}");
                Assert.Equal((seen.Count, trained), ((int)(each.TrainingTokens + each.HeldOutTokens), (int)(each.TrainingTargets + each.HeldOutTargets)));
                (TokenCount inputs, TokenCount targets) = (each.Ledger.Inputs, each.Ledger.Targets);
                Assert.Equal((links + ends, each.TrainingTokens, each.HeldOutTokens, ends, 0, left), (inputs.Read, inputs.Trained, inputs.HeldOut, inputs.Ends, inputs.Ignored, inputs.Dropped.GetValueOrDefault(TokenCount.NoTrainedTarget)));
                Assert.Equal((links + ends, each.TrainingTargets, each.HeldOutTargets, ends, seen.Count - trained, left), (targets.Read, targets.Trained, targets.HeldOut, targets.Ends, targets.Ignored, targets.Dropped.GetValueOrDefault(TokenCount.NoTrainedTarget)));
                Assert.Equal(left > 0 ? 1 : 0, inputs.Dropped.Count);
                Assert.Equal(documents.Count(d => d.Length - 1 > context), each.CutDocuments);
            }
            // Examples stay whole.
            Assert.Empty(plan.HeldOut.ToArray().Select(chunk => chunk.Document).Intersect(plan.Training.ToArray().Select(chunk => chunk.Document)));
            Assert.NotEmpty(plan.HeldOut.ToArray());
        }
    }

    [Theory]
    [InlineData(PackingPolicy.BestFit)]
    [InlineData(PackingPolicy.Concat)]
    public void Batches_have_exactly_the_trained_targets(PackingPolicy policy)
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        bool[][] documents = [.. Enumerable.Range(0, 50).Select(_ => Marks(random, 2 + random.Next(90), 10)), [false, true], [false, true]];
        using TokenStore store = Create(documents, 60_000, null);
        SequencePlan plan = SequencePlan.Create(store, 20, 1);
        using var loader = new PackedLoader(store, plan, new LoaderOptions { BatchTokens = 33, Policy = policy });
        long tokens = 0, targets = 0;
        while (loader.Position.Epoch == 0)
        {
            using PackedBatch batch = loader.Next();
            tokens += batch.RealTokens;
            targets += batch.TargetCount;
            Assert.Equal(batch.TargetCount, batch.Targets.ToArray<int>().Count(id => id != PackedBatch.IgnoreIndex));
        }
        Assert.Equal((plan.TrainingTokens, plan.TrainingTargets), (tokens, targets));
        Assert.Equal(plan.HeldOutTargets, EvaluationBatches.Read(store, plan, 40).Sum(batch => { using (batch) return batch.TargetCount; }));
    }

    /// <summary>Runs of marks of random lengths; one document of three is not trained at all.</summary>
    private static bool[] Marks(Random random, int length, int longestRun)
    {
        var marks = new bool[length];
        if (random.Next(3) == 0) return marks;
        bool mark = random.Next(2) == 0;
        for (int at = 0; at < length; mark = !mark)
            for (int run = random.Next(1, longestRun + 1); run > 0 && at < length; run--) marks[at++] = mark;
        return marks;
    }

    private TokenStore Create(bool[][] documents, int vocabulary, Random? random)
    {
        string path = _folder[$"{Path.GetRandomFileName()}.tokens"];
        using (var writer = new TokenStoreWriter(path, vocabulary, Stores.Fingerprint))
        {
            foreach (bool[] marks in documents)
            {
                if (random is not null)
                {
                    // What is abandoned leaves no mark.
                    writer.Append(new int[random.Next(1, 50)], random.Next(2) == 0);
                    writer.Append(new int[random.Next(1, 50)], random.Next(2) == 0);
                    writer.AbandonDocument();
                }
                for (int i = 0; i < marks.Length;)
                {
                    int from = i, most = random?.Next(1, 70_000) ?? 5;
                    while (i < marks.Length && marks[i] == marks[from] && i - from < most) i++;
                    writer.Append([.. Enumerable.Range(from, i - from).Select(token => (writer.DocumentCount * 1000 + token) % vocabulary)], marks[from]);
                }
                writer.EndDocument();
            }
            Assert.Equal(documents.Sum(marks => marks.Skip(1).Count(mark => mark)), writer.TrainedTargets);
            writer.Complete();
        }
        return TokenStore.Open(path);
    }
}
