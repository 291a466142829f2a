using Varlen.Data;
using Xunit;

namespace Varlen.Tests.Data;

public sealed class TokenSequenceTests
{
    [Fact]
    public void EveryTokenButTheFirstIsATargetOnceAndTargetsStayInTheirDocument()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        for (int round = 0; round < 100; round++)
        {
            int context = random.Next(1, 9);
            int[] document = [.. Enumerable.Range(0, random.Next(1, 40))];
            TokenSequence[] chunks = [.. TokenSequence.Cut(document, context)];
            Assert.True(chunks.All(chunk => chunk.Tokens.Length <= context && chunk.Tokens.Length == chunk.Targets.Length), $"seed {seed}");
            Assert.Equal(document[..^1], chunks.SelectMany(chunk => chunk.Tokens.ToArray()));
            Assert.Equal(document[1..], chunks.SelectMany(chunk => chunk.Targets.ToArray()));
        }
    }

    [Fact]
    public void ABatchCountsItsTargetsAndRestartsPositions()
    {
        using PackedBatch batch = PackedBatch.Create([new TokenSequence((int[])[5, 6], (int[])[6, 7]), new TokenSequence((int[])[8, 9, 1], (int[])[9, PackedBatch.IgnoreIndex, 2])]);
        Assert.Equal([5, 6, 8, 9, 1], batch.Tokens.ToArray<int>());
        Assert.Equal([0, 1, 0, 1, 2], batch.Positions.ToArray<int>());
        Assert.Equal(4, batch.TargetCount);
        Assert.Throws<ArgumentException>(() => PackedBatch.Create([new TokenSequence(new int[2], new int[1])]));
    }
}
