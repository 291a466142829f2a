using Varlen.Data;
using Xunit;

namespace Varlen.Tests.Data;

public sealed class TokenBatchTests
{
    private static readonly TokenSequence[] Sequences =
        [new((int[])[5, 6], (int[])[6, 7]), new(Array.Empty<int>(), Array.Empty<int>()), new((int[])[8, 0, 1], (int[])[0, PackedBatch.IgnoreIndex, 9])];

    [Fact]
    public void PaddingHasItsPlaceAndNoTarget()
    {
        using TokenBatch batch = new PadToMaximumCollator(4).Collate(Sequences);
        Assert.Equal([5, 6, 0, 0, 0, 0, 0, 0, 8, 0, 1, 0], batch.Tokens.ToArray<int>());
        Assert.Equal([6, 7, -100, -100, -100, -100, -100, -100, 0, -100, 9, -100], batch.Targets.ToArray<int>());
        Assert.Equal([0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0], batch.Positions.ToArray<int>());
        Assert.Equal((12, 5, 4L, 9, 2), (batch.Rows, batch.RealTokens, batch.TargetCount, batch.LargestToken, batch.LargestPosition));
        Assert.Equal([2, 0, 3], batch.Layout.Lengths.ToArray());
    }

    [Fact]
    public void RowsOfEachKind()
    {
        foreach ((ICollator collator, int rows, int sequences) in new (ICollator, int, int)[]
        {
            (new PadToMaximumCollator(7), 21, 3), (new PadToLongestCollator(), 9, 3), (new PadAndUnpadCollator(7), 21, 3), (new PadAndUnpadCollator(), 9, 3), (new NestedCollator(), 5, 3), (new ConcatCollator(), 5, 3),
            (new BlockDiagonalCollator(), 5, 3), (new DocumentMaskCollator(), 5, 3), (new FlattenCollator(), 5, 2),
        })
        {
            using TokenBatch batch = collator.Collate(Sequences);
            Assert.Equal((rows, 5, 4L, sequences), (batch.Rows, batch.RealTokens, batch.TargetCount, batch.Layout.Count));
            using TokenBatch none = collator.Collate([]);
            Assert.Equal((0, 0, 0L, -1, -1), (none.Rows, none.RealTokens, none.TargetCount, none.LargestToken, none.LargestPosition));
        }
    }

    [Fact]
    public void BadSequencesAreNamed()
    {
        Check("sequence 1 has 2 tokens and 1 targets", new TokenSequence((int[])[1, 2], (int[])[1]));
        Check("token 1 of sequence 1 is -1", new TokenSequence((int[])[1, -1], (int[])[1, 1]));
        Check("target 0 of sequence 1 is -7", new TokenSequence((int[])[1, 1], (int[])[-7, 1]));
        Assert.Contains("sequence 2 has 3 tokens, more than the 2", Assert.Throws<ArgumentException>(() => PaddedBatch.Create(Sequences, 2)).Message, StringComparison.Ordinal);
        Assert.Contains("dense mask over 60000 tokens", Assert.Throws<ArgumentException>(() => DocumentMaskBatch.Create([new(new int[60000], new int[60000])])).Message, StringComparison.Ordinal);

        static void Check(string expected, TokenSequence bad) => Assert.All<Func<IReadOnlyList<TokenSequence>, TokenBatch>>(
            [s => PackedBatch.Create(s), s => PaddedBatch.Create(s), s => PaddedBatch.CreateUnpadded(s), s => JaggedBatch.Create(s), s => BlockDiagonalBatch.Create(s), s => DocumentMaskBatch.Create(s)],
            create => Assert.Contains(expected, Assert.Throws<ArgumentException>(() => create([Sequences[0], bad])).Message, StringComparison.Ordinal));
    }
}
