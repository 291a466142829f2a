using Xunit;
using static Varlen.Tests.Data.SequenceLayoutTests;

namespace Varlen.Tests.Data;

public sealed class SequenceLayoutFromPaddingMaskTests
{
    // One character a column: x is a real token.
    private static bool[] Mask(params string[] rows) => [.. string.Concat(rows).Select(character => character == 'x')];

    [Fact]
    public void Right_padding_keeps_a_sequence_a_row()
    {
        (SequenceLayout layout, PaddedIndices indices) = SequenceLayout.FromPaddingMask(Mask("xx..", "....", "xxxx", "x..."), 4, 4);
        Assert.Equal([2, 0, 4, 1], layout.Lengths.ToArray());
        Assert.Equal([0, 1, 8, 9, 10, 11, 12], indices.Slots.ToArray());
        Assert.Equal((4, 4), (indices.Batch, indices.SequenceLength));
        Assert.Equal(SequenceLayout.FromLengths([2, 0, 4, 1]), layout);
    }

    [Theory]
    [InlineData(".xxx", "mask[5] (row 1, column 1) is a real token after padding")]
    [InlineData("x..x", "mask[7] (row 1, column 3) is a real token after padding")]
    public void Other_padding_needs_a_policy(string row, string fragment)
    {
        bool[] mask = Mask("xxxx", row);
        Refused("mask", fragment, () => SequenceLayout.FromPaddingMask(mask, 2, 4));
        foreach (PaddingPolicy policy in (PaddingPolicy[])[PaddingPolicy.CountPositions, PaddingPolicy.ColumnPositions])
            Assert.Equal(4 + row.Count(character => character == 'x'), SequenceLayout.FromPaddingMask(mask, 2, 4, policy).Layout.TotalTokens);
    }

    [Fact]
    public void The_policy_chooses_the_positions()
    {
        bool[] mask = Mask("..xx", "x.x.", "xxx.");
        (SequenceLayout counted, PaddedIndices indices) = SequenceLayout.FromPaddingMask(mask, 3, 4, PaddingPolicy.CountPositions);
        (SequenceLayout byColumn, PaddedIndices same) = SequenceLayout.FromPaddingMask(mask, 3, 4, PaddingPolicy.ColumnPositions);
        Assert.Equal([0, 1, 0, 1, 0, 1, 2], counted.PositionIds.ToArray());
        Assert.Equal([2, 3, 0, 2, 0, 1, 2], byColumn.PositionIds.ToArray());
        Assert.Equal(indices.Slots.ToArray(), same.Slots.ToArray());
        Assert.Equal([2, 3, 4, 6, 8, 9, 10], indices.Slots.ToArray());
        Assert.Equal(counted.CuSeqlens.ToArray(), byColumn.CuSeqlens.ToArray());
        Assert.NotEqual(counted, byColumn);
        Assert.Equal(SequenceLayout.FromLengths([2, 2, 3]), counted);
        // Positions travel with their sequences.
        Assert.Equal([0, 1, 2, 2, 3, 0, 2], byColumn.Permute([2, 0, 1]).PositionIds.ToArray());
        Assert.Equal([2, 3, 0, 2, 0, 1, 2], byColumn.WithDocumentKeys([9, 8, 7]).PositionIds.ToArray());
        Assert.Equal(byColumn, byColumn.Permute([2, 0, 1]).Permute([1, 2, 0]));
    }

    [Fact]
    public void Without_shifted_tokens_all_policies_agree()
    {
        bool[] mask = Mask("xx.", "xxx");
        Assert.Single(Enum.GetValues<PaddingPolicy>().Select(policy => SequenceLayout.FromPaddingMask(mask, 2, 3, policy).Layout).Distinct());
    }

    [Fact]
    public void Empty_masks_are_legal()
    {
        Assert.Equal([0], SequenceLayout.FromPaddingMask([], 0, 5).Layout.CuSeqlens.ToArray());
        Assert.Equal([0, 0, 0], SequenceLayout.FromPaddingMask([], 2, 0).Layout.CuSeqlens.ToArray());
    }

    [Fact]
    public void Bad_arguments_are_named()
    {
        Refused("mask", "mask has 3 elements, and 2 rows of 2 have 4", () => SequenceLayout.FromPaddingMask(new bool[3], 2, 2));
        Assert.Throws<ArgumentOutOfRangeException>("policy", () => SequenceLayout.FromPaddingMask(new bool[4], 2, 2, (PaddingPolicy)7));
    }

    [Fact]
    public void Packing_takes_real_tokens_and_unpacking_puts_them_back()
    {
        var random = new Random(5);
        for (int round = 0; round < 200; round++)
        {
            int batch = random.Next(4), sequence = random.Next(6), width = random.Next(1, 4);
            bool[] mask = [.. Enumerable.Range(0, batch * sequence).Select(_ => random.Next(2) == 0)];
            (SequenceLayout layout, PaddedIndices indices) = SequenceLayout.FromPaddingMask(mask, batch, sequence, PaddingPolicy.CountPositions);
            int[] padded = [.. Enumerable.Range(1, mask.Length * width)];
            int[] expected = [.. padded.Where((_, element) => mask[element / width])];
            var packed = new int[layout.TotalTokens * width];
            indices.Pack(padded, packed, width);
            Assert.Equal(expected, packed);

            var back = new int[padded.Length];
            indices.Unpack(packed, back, -1, width);
            Assert.Equal(padded.Select((value, element) => mask[element / width] ? value : -1), back);
            for (int row = 0; row < batch; row++)
                Assert.Equal(mask.Skip(row * sequence).Take(sequence).Count(real => real), layout[row].Length);
        }
    }

    [Fact]
    public void A_layout_is_padded_on_the_right()
    {
        var layout = SequenceLayout.FromLengths([2, 0, 3]);
        PaddedIndices indices = PaddedIndices.PadRight(layout, 4);
        Assert.Equal([0, 1, 8, 9, 10], indices.Slots.ToArray());
        var mask = new bool[12];
        indices.Unpack([true, true, true, true, true], mask, false);
        Assert.Equal(Mask("xx..", "....", "xxx."), mask);
        Assert.Equal(layout, SequenceLayout.FromPaddingMask(mask, 3, 4).Layout);
        Refused("sequenceLength", "rows of 2 columns cannot hold a sequence of 3 tokens", () => PaddedIndices.PadRight(layout, 2));
        Refused("sequenceLength", "3 rows of 2147483647 columns are more than", () => PaddedIndices.PadRight(layout, int.MaxValue));
    }

    [Fact]
    public void Spans_of_another_length_are_refused()
    {
        PaddedIndices indices = PaddedIndices.PadRight(SequenceLayout.FromLengths([1, 2]), 2);
        Refused("padded", "padded has 7 elements, and 2 rows of 2 tokens of 2 have 8", () => { indices.Pack(new int[7], new int[6], 2); return 0; });
        Refused("packed", "packed has 5 elements, and 3 tokens of 2 have 6", () => { indices.Pack(new int[8], new int[5], 2); return 0; });
        Refused("packed", "packed has 4 elements, and 3 tokens of 1 have 3", () => { indices.Unpack(new int[4], new int[4], 0); return 0; });
        Assert.Throws<ArgumentOutOfRangeException>("width", () => indices.Pack<int>([], [], 0));
    }
}
