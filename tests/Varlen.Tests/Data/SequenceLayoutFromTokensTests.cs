using Xunit;
using static Varlen.Tests.Data.SequenceLayoutTests;

namespace Varlen.Tests.Data;

public sealed class SequenceLayoutFromTokensTests
{
    // The published example: three rows of 64 tokens, whose documents end at these columns.
    private static int[] TutorialIds()
    {
        var ids = Enumerable.Repeat(5, 3 * 64).ToArray();
        int[][] ends = [[31, 46, 63], [27, 38, 63], [39, 48, 63]];
        for (int row = 0; row < 3; row++)
            foreach (int column in ends[row]) ids[row * 64 + column] = 2;
        return ids;
    }

    [Fact]
    public void The_tutorials_batch_gives_the_tutorials_offsets()
    {
        var layout = SequenceLayout.FromEos(TutorialIds(), 3, 64, 2);
        Assert.Equal([0, 32, 47, 64, 92, 103, 128, 168, 177, 192], layout.CuSeqlens.ToArray());
        Assert.Equal(40, layout.MaxLength);
        Assert.Equal(layout, SequenceLayout.FromEos(Widen(TutorialIds()), 3, 64, 2));
    }

    [Theory]
    [InlineData(new[] { 5, 6, 2, 7, 8, 2 }, 1, 6, new[] { 0, 3, 6 }, 3)]
    [InlineData(new[] { 5, 6, 7, 8 }, 1, 4, new[] { 0, 4 }, 4)]
    [InlineData(new[] { 2, 6, 7, 8 }, 1, 4, new[] { 0, 1, 4 }, 3)]
    [InlineData(new[] { 5, 2, 2, 7 }, 1, 4, new[] { 0, 2, 3, 4 }, 2)]
    [InlineData(new[] { 2, 2, 2 }, 1, 3, new[] { 0, 1, 2, 3 }, 1)]
    [InlineData(new[] { 5, 2, 7, 8 }, 1, 4, new[] { 0, 2, 4 }, 2)]
    [InlineData(new[] { 5, 6, 7, 8, 2, 9 }, 2, 3, new[] { 0, 3, 5, 6 }, 3)]
    [InlineData(new int[0], 0, 7, new[] { 0 }, 0)]
    [InlineData(new int[0], 3, 0, new[] { 0 }, 0)]
    [InlineData(new int[0], 0, 0, new[] { 0 }, 0)]
    [InlineData(new[] { 2 }, 1, 1, new[] { 0, 1 }, 1)]
    public void Every_corner_of_the_markers(int[] ids, int batch, int sequence, int[] offsets, int longest)
    {
        var layout = SequenceLayout.FromEos(ids, batch, sequence, 2);
        Assert.Equal(offsets, layout.CuSeqlens.ToArray());
        Assert.Equal(longest, layout.MaxLength);
        Assert.Equal(layout, SequenceLayout.FromEos(Widen(ids), batch, sequence, 2));
    }

    [Fact]
    public void A_marker_outside_the_narrow_range_matches_nothing()
    {
        // 2^32 + 2 must not be taken for 2.
        Assert.Equal([0, 3], SequenceLayout.FromEos([1, 2, 3], 1, 3, (1L << 32) + 2).CuSeqlens.ToArray());
        Assert.Equal([0, 2, 3], SequenceLayout.FromEos([1L, (1L << 32) + 2, 2], 1, 3, (1L << 32) + 2).CuSeqlens.ToArray());
        Assert.Equal([0, 1, 3], SequenceLayout.FromEos([-1, 2, 3], 1, 3, -1).CuSeqlens.ToArray());
    }

    [Fact]
    public void Random_batches_agree_with_splitting_each_row_as_text()
    {
        var random = new Random(11);
        for (int round = 0; round < 500; round++)
        {
            int batch = random.Next(5), sequence = random.Next(1, 20);
            int[] ids = [.. Enumerable.Range(0, batch * sequence).Select(_ => random.Next(4))];
            // Independently: a row as text, cut after each marker, empty ends dropped.
            var lengths = new List<int>();
            for (int row = 0; row < batch; row++)
            {
                string text = string.Concat(ids.Skip(row * sequence).Take(sequence));
                lengths.AddRange(text.Replace("2", "2|", StringComparison.Ordinal).Split('|', StringSplitOptions.RemoveEmptyEntries).Select(part => part.Length));
            }
            var layout = SequenceLayout.FromEos(ids, batch, sequence, 2);
            Assert.Equal(lengths, layout.Lengths.ToArray());
            Assert.Equal(lengths.DefaultIfEmpty(0).Max(), layout.MaxLength);
            Assert.Equal(batch * sequence, layout.TotalTokens);
        }
    }

    [Fact]
    public void Position_ids_lead_back_to_the_layout()
    {
        var random = new Random(12);
        for (int round = 0; round < 300; round++)
        {
            var layout = SequenceLayout.FromLengths([.. Enumerable.Range(0, random.Next(10)).Select(_ => random.Next(1, 6))]);
            int start = random.Next(-3, 4);
            int[] ids = [.. layout.PositionIds.ToArray().Select(position => position + start)];
            Assert.Equal(layout, SequenceLayout.FromPositionIds(ids, 1, ids.Length, start));
            Assert.Equal(layout, SequenceLayout.FromPositionIds(Widen(ids), 1, ids.Length, start));
            Assert.Equal(layout, SequenceLayout.FromCuSeqlens(layout.CuSeqlens, layout.TotalTokens));
            Assert.Equal(layout, SequenceLayout.FromLengths(layout.Lengths));
        }
    }

    [Theory]
    [InlineData(new[] { 0, 1, 2, 0, 1, 0, 1, 2, 3 }, 1, 9, 0, new[] { 0, 3, 5, 9 })]
    [InlineData(new[] { 0, 0, 0 }, 1, 3, 0, new[] { 0, 1, 2, 3 })]
    [InlineData(new[] { 2, 3, 2, 3, 4 }, 1, 5, 2, new[] { 0, 2, 5 })]
    [InlineData(new[] { 0, 1, 0, 1, 0, 1 }, 3, 2, 0, new[] { 0, 2, 4, 6 })]
    [InlineData(new int[0], 2, 0, 0, new[] { 0 })]
    [InlineData(new int[0], 0, 4, 0, new[] { 0 })]
    public void Documents_start_where_positions_do(int[] ids, int batch, int sequence, int start, int[] offsets) =>
        Assert.Equal(offsets, SequenceLayout.FromPositionIds(ids, batch, sequence, start).CuSeqlens.ToArray());

    [Fact]
    public void A_row_start_ends_a_document_even_when_positions_run_on()
    {
        Refused("positionIds", "positionIds[2] = 2 (row 1, column 0) starts a document, as a row's first token, and documents start at 0", () => SequenceLayout.FromPositionIds([0, 1, 2, 3], 2, 2));
    }

    [Theory]
    [InlineData(new[] { 1, 2 }, 0, "positionIds[0] = 1 (row 0, column 0) starts a document")]
    [InlineData(new[] { 0, 1, 3 }, 0, "positionIds[2] = 3 (row 0, column 2) starts a document, as it does not follow 1, and documents start at 0")]
    [InlineData(new[] { 0, 1, 1 }, 0, "positionIds[2] = 1")]
    [InlineData(new[] { 2, 3, 0 }, 2, "positionIds[2] = 0 (row 0, column 2) starts a document, as it does not follow 3, and documents start at 2")]
    public void Bad_positions_are_named(int[] ids, int start, string fragment)
    {
        Refused("positionIds", fragment, () => SequenceLayout.FromPositionIds(ids, 1, ids.Length, start));
        Refused("positionIds", fragment, () => SequenceLayout.FromPositionIds(Widen(ids), 1, ids.Length, start));
    }

    [Fact]
    public void The_largest_position_has_no_successor() =>
        Refused("positionIds", "positionIds[1] = -9223372036854775808", () => SequenceLayout.FromPositionIds([long.MaxValue, long.MinValue], 1, 2, long.MaxValue));

    [Fact]
    public void Shapes_are_checked()
    {
        Refused("ids", "ids has 5 elements, and 2 rows of 3 have 6", () => SequenceLayout.FromEos(new int[5], 2, 3, 0));
        Refused("ids", "ids has 0 elements, and 65536 rows of 65536 have 4294967296", () => SequenceLayout.FromEos((long[])[], 1 << 16, 1 << 16, 0));
        Refused("positionIds", "positionIds has 1 elements, and 0 rows of 1 have 0", () => SequenceLayout.FromPositionIds(new int[1], 0, 1));
        Assert.Throws<ArgumentOutOfRangeException>("batch", () => SequenceLayout.FromEos(new int[4], -2, -2, 0));
        Assert.Throws<ArgumentOutOfRangeException>("sequenceLength", () => SequenceLayout.FromPositionIds((long[])[], 0, -1));
        Assert.Throws<ArgumentOutOfRangeException>("batch", () => SequenceLayout.FromPaddingMask(new bool[1], -1, -1));
    }
}
