using Xunit;

namespace Varlen.Tests.Data;

public sealed class SequenceLayoutTests
{
    [Fact]
    public void Lengths_give_every_view()
    {
        using var layout = SequenceLayout.FromLengths([5, 0, 3, 7]);
        Assert.Equal([0, 5, 5, 8, 15], layout.CuSeqlens.ToArray());
        Assert.Equal([0, 5, 5, 8], layout.Offsets.ToArray());
        Assert.Equal([5, 0, 3, 7], layout.Lengths.ToArray());
        Assert.Equal((4, 15, 7), (layout.Count, layout.TotalTokens, layout.MaxLength));
        Assert.Equal([0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2, 3, 4, 5, 6], layout.PositionIds.ToArray());
        Assert.Equal([0, 0, 0, 0, 0, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3], layout.DocumentIds.ToArray());
        Assert.Equal([0UL, 1, 2, 3], layout.DocumentKeys.ToArray());
        Assert.Equal([(0, 5), (5, 0), (5, 3), (8, 7)], Enumerable.Range(0, 4).Select(i => layout[i]));
        Assert.Equal("4 sequences, 15 tokens, longest 7", layout.ToString());
    }

    [Fact]
    public void No_sequences_and_no_tokens_are_legal()
    {
        SequenceLayout none = SequenceLayout.FromLengths([]), empty = SequenceLayout.FromLengths([0, 0]);
        Assert.Equal([0], none.CuSeqlens.ToArray());
        Assert.Equal((0, 0, 0), (none.Count, none.TotalTokens, none.MaxLength));
        Assert.Equal((2, 0, 0), (empty.Count, empty.TotalTokens, empty.MaxLength));
        Assert.True(none.PositionIds.IsEmpty && none.DocumentIds.IsEmpty && none.Lengths.IsEmpty && empty.DocumentIds.IsEmpty);
        Assert.NotEqual(none, empty);
    }

    [Fact]
    public void The_host_side_outlives_disposal()
    {
        var layout = SequenceLayout.FromLengths([2]);
        layout.Dispose();
        layout.Dispose();
        Assert.Equal([0, 1], layout.PositionIds.ToArray());
    }

    [Theory]
    [InlineData(new[] { 1, -1 }, "lengths[1] = -1 is negative")]
    [InlineData(new[] { int.MinValue }, "lengths[0] = -2147483648 is negative")]
    [InlineData(new[] { int.MaxValue, 0, 1 }, "lengths[2] = 1 takes the total to 2147483648 tokens")]
    public void Bad_lengths_are_named(int[] lengths, string fragment) =>
        Refused("lengths", fragment, () => SequenceLayout.FromLengths(lengths));

    [Fact]
    public void The_largest_total_is_legal()
    {
        var layout = SequenceLayout.FromLengths([int.MaxValue - 1, 1]);
        Assert.Equal((int.MaxValue, int.MaxValue - 1), (layout.TotalTokens, layout.MaxLength));
    }

    [Theory]
    [InlineData(new int[0], null, "there are no offsets")]
    [InlineData(new[] { 1 }, null, "offsets[0] = 1; the first sequence starts at token 0")]
    [InlineData(new[] { -1, 3 }, null, "offsets[0] = -1")]
    [InlineData(new[] { 0, 8, 16, 14 }, null, "offsets[3] = 14 follows 16")]
    [InlineData(new[] { 0, -1 }, null, "offsets[1] = -1 follows 0")]
    [InlineData(new[] { 0, 8, 15 }, 16, "offsets[2] = 15, and there are 16 tokens")]
    [InlineData(new[] { 0, 8, 17 }, 16, "offsets[2] = 17, and there are 16 tokens")]
    [InlineData(new[] { 0 }, 1, "offsets[0] = 0, and there are 1 tokens")]
    public void Bad_offsets_are_named_in_both_widths(int[] offsets, int? total, string fragment)
    {
        Refused("offsets", fragment, () => SequenceLayout.FromCuSeqlens(offsets, total));
        Refused("offsets", fragment, () => SequenceLayout.FromCuSeqlens(Widen(offsets), total));
    }

    [Fact]
    public void Wide_offsets_must_fit()
    {
        Refused("offsets", "offsets[1] = 2147483648 is above 2147483647", () => SequenceLayout.FromCuSeqlens([0L, 1L << 31]));
        // A truncated total must not pass for a small one.
        Refused("offsets", "offsets[1] = 4294967304, and there are 8 tokens", () => SequenceLayout.FromCuSeqlens([0L, (1L << 32) + 8], 8));
        Assert.Equal(int.MaxValue, SequenceLayout.FromCuSeqlens([0L, int.MaxValue]).TotalTokens);
    }

    [Fact]
    public void Offsets_are_copied()
    {
        int[] offsets = [0, 2, 5];
        var layout = SequenceLayout.FromCuSeqlens(offsets, 5);
        offsets[1] = 100;
        Assert.Equal([0, 2, 5], layout.CuSeqlens.ToArray());
    }

    [Fact]
    public void Indexes_are_checked()
    {
        var layout = SequenceLayout.FromLengths([4]);
        foreach (int index in (int[])[-1, 1, int.MinValue])
            Assert.Contains("the layout has 1 sequences", Assert.Throws<ArgumentOutOfRangeException>("index", () => layout[index]).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Equality_is_by_value()
    {
        SequenceLayout layout = SequenceLayout.FromLengths([3, 2]), same = SequenceLayout.FromCuSeqlens([0L, 3, 5]);
        Assert.Equal(layout, same);
        Assert.Equal(layout.GetHashCode(), same.GetHashCode());
        Assert.True(layout.Equals((object)same));
        Assert.NotEqual(layout, SequenceLayout.FromLengths([2, 3]));
        Assert.NotEqual(layout, SequenceLayout.FromLengths([3, 2, 0]));
        Assert.NotEqual(layout, layout.WithDocumentKeys([0, 7]));
        Assert.Equal(layout, layout.WithDocumentKeys([0, 1]));
        Assert.False(layout.Equals(null));
        Assert.False(layout.Equals("layout"));
    }

    [Fact]
    public void Document_keys_are_set_and_carried()
    {
        var layout = SequenceLayout.FromLengths([3, 2, 4]).WithDocumentKeys([10, ulong.MaxValue, 10]);
        Assert.Equal([10, ulong.MaxValue, 10], layout.DocumentKeys.ToArray());
        var permuted = layout.Permute([1, 2, 0]);
        Assert.Equal([2, 4, 3], permuted.Lengths.ToArray());
        Assert.Equal([ulong.MaxValue, 10, 10], permuted.DocumentKeys.ToArray());
        Assert.Equal([1UL, 2, 0], SequenceLayout.FromLengths([3, 2, 4]).Permute([1, 2, 0]).DocumentKeys.ToArray());
        Refused("keys", "there are 2 keys for 3 sequences", () => layout.WithDocumentKeys([1, 2]));
    }

    [Fact]
    public void A_permutation_and_its_inverse_restore_the_layout()
    {
        var random = new Random(3);
        for (int round = 0; round < 100; round++)
        {
            var layout = SequenceLayout.FromLengths([.. Enumerable.Range(0, random.Next(12)).Select(_ => random.Next(5))]);
            int[] order = [.. Enumerable.Range(0, layout.Count)], inverse = new int[layout.Count];
            random.Shuffle(order);
            for (int i = 0; i < order.Length; i++) inverse[order[i]] = i;
            var permuted = layout.Permute(order);
            for (int i = 0; i < order.Length; i++) Assert.Equal((layout[order[i]].Length, (ulong)order[i]), (permuted[i].Length, permuted.DocumentKeys[i]));
            Assert.Equal(layout, permuted.Permute(inverse));
        }
    }

    [Theory]
    [InlineData(new[] { 0, 1 }, "the order has 2 entries for 3 sequences")]
    [InlineData(new[] { 0, 1, 3 }, "order[2] = 3 is no sequence")]
    [InlineData(new[] { -1, 1, 0 }, "order[0] = -1 is no sequence")]
    [InlineData(new[] { 2, 0, 2 }, "order[2] = 2 repeats order[0]")]
    public void Bad_orders_are_named(int[] order, string fragment) =>
        Refused("order", fragment, () => SequenceLayout.FromLengths([1, 2, 3]).Permute(order));

    [Fact]
    public void Threads_see_one_array_of_each_kind()
    {
        for (int round = 0; round < 50; round++)
        {
            var layout = SequenceLayout.FromLengths([100, 1000, 10]);
            using var start = new Barrier(4);
            var seen = new int[4][];
            Thread[] threads = [.. Enumerable.Range(0, 4).Select(i => new Thread(() =>
            {
                start.SignalAndWait();
                seen[i] = [.. layout.PositionIds, .. layout.DocumentIds, .. layout.Lengths];
            }))];
            foreach (Thread thread in threads) thread.Start();
            foreach (Thread thread in threads) thread.Join();
            Assert.All(seen, view => Assert.Equal(seen[0], view));
            Assert.True(layout.PositionIds == layout.PositionIds && layout.DocumentIds == layout.DocumentIds && layout.DocumentKeys == layout.DocumentKeys);
        }
    }

    [Fact]
    public void A_hundred_thousand_documents_and_one_of_that_length()
    {
        var many = SequenceLayout.FromLengths([.. Enumerable.Repeat(1, 100_000)]);
        var one = SequenceLayout.FromLengths([100_000]);
        Assert.Equal((100_000, 100_000, 1), (many.Count, many.TotalTokens, many.MaxLength));
        Assert.Equal((1, 100_000, 100_000), (one.Count, one.TotalTokens, one.MaxLength));
        Assert.Equal(many.DocumentIds.ToArray(), one.PositionIds.ToArray());
    }

    internal static void Refused(string parameter, string fragment, Func<object> action) =>
        Assert.Contains(fragment, Assert.Throws<ArgumentException>(parameter, action).Message, StringComparison.Ordinal);

    internal static long[] Widen(int[] values) => Array.ConvertAll(values, value => (long)value);
}
