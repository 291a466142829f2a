using Varlen.Data;
using Xunit;

namespace Varlen.Tests.Data;

public sealed class DataCollatorWithFlatteningTests
{
    [Fact]
    public void FlattensAsHuggingFaceDoes()
    {
        FlattenedSequences flat = new DataCollatorWithFlattening().Collate([(int[])[10, 11, 12], (int[])[20], (int[])[30, 31]]);
        Assert.Equal([10, 11, 12, 20, 30, 31], flat.InputIds.ToArray());
        Assert.Equal([-100, 11, 12, -100, -100, 31], flat.Labels.ToArray());
        Assert.Equal([0, 1, 2, 0, 0, 1], flat.PositionIds.ToArray());
        Assert.Equal([0, 3, 4, 6], flat.CuSeqLens.ToArray());
        Assert.Equal(3, flat.MaxLength);
        using PackedBatch batch = flat.ToBatch();
        Assert.Equal([11, 12, -100, -100, 31, -100], batch.Targets.ToArray<int>());
        Assert.Equal(flat.CuSeqLens.ToArray(), batch.Layout.CuSeqlens.ToArray());
        Assert.Equal(3, batch.TargetCount);
    }

    [Fact]
    public void AnEmptySampleAddsNothing()
    {
        FlattenedSequences flat = new DataCollatorWithFlattening().Collate([Array.Empty<int>(), (int[])[1, 2], Array.Empty<int>()]);
        Assert.Equal(flat.InputIds.Length, flat.Labels.Length);
        Assert.Equal([0, 2], flat.CuSeqLens.ToArray());
        FlattenedSequences none = new DataCollatorWithFlattening().Collate([Array.Empty<int>()]);
        Assert.Equal([0], none.CuSeqLens.ToArray());
        using PackedBatch batch = none.ToBatch();
        Assert.Equal(0, batch.Rows);
    }

    [Fact]
    public void ASeparatorOfItsOwnIsATargetAndLabelsMayDiffer()
    {
        FlattenedSequences flat = new DataCollatorWithFlattening { SeparatorId = 7 }.Collate([(int[])[1, 2], (int[])[3, 4]], [(int[])[1, -100], (int[])[3, 9]]);
        Assert.Equal([7, -100, 7, 9], flat.Labels.ToArray());
        using PackedBatch batch = flat.ToBatch();
        Assert.Equal([-100, 7, 9, -100], batch.Targets.ToArray<int>());
        Assert.Contains("sample 1", Assert.Throws<ArgumentException>(() => new DataCollatorWithFlattening().Collate([(int[])[1], (int[])[2]], [(int[])[1], Array.Empty<int>()])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void RandomSequencesAreFunctionsOfSeedAndIndex()
    {
        int seed = Numeric.FreshSeed();
        var data = new RandomTokenDataset(LengthDistribution.Uniform(1, 6), 11, (ulong)seed);
        var lengths = new int[7];
        var ids = new int[11];
        for (int i = 0; i < 3000; i++)
        {
            TokenSequence sequence = data[i];
            Assert.Equal(sequence.Tokens[1..].ToArray(), sequence.Targets[..^1].ToArray());
            lengths[sequence.Tokens.Length]++;
            foreach (int id in sequence.Tokens.Span) ids[id]++;
        }
        // Every value within its range occurs about equally often, 500 and about 1050 times, and none else: deviations of six sigma.
        Assert.Equal((0, 0), (lengths[0], ids[0]));
        Assert.All(lengths[1..], count => Assert.InRange(count, 370, 630));
        Assert.All(ids[1..], count => Assert.True(Math.Abs(count - ids.Sum() / 10.0) < 200, $"seed {seed}: {count}"));
        Assert.Equal(data[2].Tokens.ToArray(), data.Batch(1, 2)[0].Tokens.ToArray());
        Assert.Equal([4, 0, 4, 0], new RandomTokenDataset(LengthDistribution.Listed(4, 0), 5).Batch(0, 4).Select(sequence => sequence.Tokens.Length));
        Assert.Throws<ArgumentOutOfRangeException>(() => new RandomTokenDataset(LengthDistribution.Fixed(1), 1));
        Assert.Throws<ArgumentException>(() => LengthDistribution.Listed(3, -1));
    }
}
