using System.Text.Json;
using Varlen.Data;
using Xunit;

namespace Varlen.Tests.Data;

public sealed class PackedLoaderTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void An_epoch_trains_every_link_once_with_its_own_target()
    {
        int[] lengths = Stores.DrawLengths(new Random(Numeric.FreshSeed()), 60, 90);
        using TokenStore store = Stores.Create(_folder, lengths);
        SequencePlan plan = SequencePlan.Create(store, 16, 3);
        foreach (PackingPolicy policy in Enum.GetValues<PackingPolicy>())
        {
            using var loader = new PackedLoader(store, plan, new() { BatchTokens = 64, Policy = policy });
            for (int epoch = 0; epoch < 2; epoch++)
            {
                var links = new List<(int, int)>();
                var keys = new HashSet<ulong>();
                while (loader.Position.Epoch == epoch)
                {
                    using PackedBatch batch = loader.Next();
                    int[] tokens = batch.Tokens.ToArray<int>(), targets = batch.Targets.ToArray<int>();
                    Assert.InRange(tokens.Length, 1, 64);
                    Assert.Equal(tokens.Length, batch.TargetCount);
                    Assert.Equal(batch.Layout.PositionIds.ToArray(), batch.Positions.ToArray<int>());
                    Assert.InRange(batch.Layout.MaxLength, 1, 16);
                    foreach (ulong key in batch.Layout.DocumentKeys) Assert.True(keys.Add(key));
                    // Documents are ranges of their own, so a target is its token's successor.
                    links.AddRange(tokens.Zip(targets));
                    Assert.All(tokens.Zip(targets), link => Assert.Equal(link.First + 1, link.Second));
                }
                Assert.Equal(plan.TrainingTokens, links.Distinct().Count());
                Assert.Equal(plan.TrainingTokens, links.Count);
            }
            Assert.Equal(2 * plan.TrainingTokens, loader.Position.Tokens);
        }
        long heldOut = 0;
        foreach (PackedBatch batch in EvaluationBatches.Read(store, plan, 64))
        {
            heldOut += batch.TargetCount;
            batch.Dispose();
        }
        Assert.Equal(plan.HeldOutTokens, heldOut);
    }

    [Fact]
    public void A_position_resumes_with_the_identical_batch_whatever_is_read_ahead()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        using TokenStore store = Stores.Create(_folder, Stores.DrawLengths(random, 40, 60));
        SequencePlan plan = SequencePlan.Create(store, 16, 3);
        var options = new LoaderOptions { BatchTokens = 48, Seed = seed };
        var batches = new List<string>();
        var positions = new List<string>();
        using (var loader = new PackedLoader(store, plan, options))
            for (int i = 0; i < 60; i++)
            {
                positions.Add(JsonSerializer.Serialize(loader.Position));
                batches.Add(Describe(loader));
            }
        // Small batches at the end of an epoch can recur in another.
        Assert.InRange(batches.Distinct().Count(), 50, 60);
        foreach (int at in (int[])[0, 1, random.Next(60), 59])
        {
            using var resumed = new PackedLoader(store, plan, options with { Prefetch = random.Next(1, 9) }, position: JsonSerializer.Deserialize<LoaderPosition>(positions[at]));
            for (int i = at; i < batches.Count; i++)
            {
                Assert.Equal(positions[i], JsonSerializer.Serialize(resumed.Position));
                Assert.True(batches[i] == Describe(resumed), $"seed {seed}: batch {i} after resuming at {at}");
            }
        }
    }

    [Fact]
    public void Misuse_is_named()
    {
        using TokenStore store = Stores.Create(_folder, [50, 50]), other = Stores.Create(_folder, [50, 51]);
        SequencePlan plan = SequencePlan.Create(store, 16, 3);
        var options = new LoaderOptions { BatchTokens = 48 };
        LoaderPosition position;
        using (var loader = new PackedLoader(store, plan, options)) position = loader.Position;
        Assert.Contains("holds other data", Refused(() => new(other, plan, options)), StringComparison.Ordinal);
        Assert.Contains("cannot hold a sequence of 16", Refused(() => new(store, plan, options with { BatchTokens = 15 })), StringComparison.Ordinal);
        Assert.Contains("other data or settings", Refused(() => new(store, plan, options with { Seed = 2 }, position: position)), StringComparison.Ordinal);
        Assert.Contains("made for evaluation", Refused(() => new(store, SequencePlan.ForEvaluation(store, 16), options)), StringComparison.Ordinal);
        Assert.Contains("no batch -1", Refused(() => new(store, plan, options, position: position with { Batch = -1 })), StringComparison.Ordinal);
        using (var late = new PackedLoader(store, plan, options, position: position with { Batch = 99 })) Assert.Contains("batch 99", Assert.Throws<ArgumentException>(late.Next).Message, StringComparison.Ordinal);
        var disposed = new PackedLoader(store, plan, options);
        disposed.Dispose();
        disposed.Dispose();
        Assert.Throws<ObjectDisposedException>(() => disposed.Next());
    }

    [Fact]
    public void A_failure_of_reading_ahead_is_thrown_at_the_batch_it_hit()
    {
        string path;
        using (TokenStore whole = Stores.Create(_folder, Enumerable.Repeat(40, 10), vocabulary: 60_000)) path = whole.Path;
        byte[] bytes = File.ReadAllBytes(path);
        (bytes[128 + 2 * 100], bytes[128 + 2 * 100 + 1]) = (0xFF, 0xFF);
        File.WriteAllBytes(path, bytes);
        using var store = TokenStore.Open(path);
        using var loader = new PackedLoader(store, SequencePlan.Create(store, 16, 3), new() { BatchTokens = 16 });
        int given = 0;
        TextFormatException error = Assert.Throws<TextFormatException>(() =>
        {
            for (; given < 100; given++) loader.Next().Dispose();
        });
        Assert.Contains("token 20 of document 2 is 65535", error.Message, StringComparison.Ordinal);
        Assert.Equal(given, loader.Position.Batches);
        Assert.Throws<TextFormatException>(loader.Next);
    }

    [Fact]
    public void A_steady_step_allocates_little_and_leaks_nothing()
    {
        using TokenStore store = Stores.Create(_folder, Enumerable.Repeat(400, 3000));
        SequencePlan plan = SequencePlan.Create(store, 256, 3);
        using var loader = new PackedLoader(store, plan, new() { BatchTokens = 16_384 });
        for (int i = 0; i < 8; i++) loader.Next().Dispose();
        // The reader's thread counts as well.
        long before = GC.GetTotalAllocatedBytes(precise: true), live = MemoryDiagnostics.LiveCount;
        for (int i = 0; i < 20; i++) loader.Next().Dispose();
        long step = (GC.GetTotalAllocatedBytes(precise: true) - before) / 20;
        Assert.True(step < 64 << 10, $"{step} bytes a step");
        Assert.Equal(live, MemoryDiagnostics.LiveCount);
    }

    private static string Refused(Func<PackedLoader> make) => Assert.Throws<ArgumentException>(() => make().Dispose()).Message;

    private static string Describe(PackedLoader loader)
    {
        using PackedBatch batch = loader.Next();
        return $"{string.Join(' ', batch.Tokens.ToArray<int>())} | {string.Join(' ', batch.Layout.Lengths.ToArray())} | {string.Join(' ', batch.Layout.DocumentKeys.ToArray())}";
    }
}
