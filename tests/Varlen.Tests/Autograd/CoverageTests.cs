using Varlen.Autograd;
using Xunit;

namespace Varlen.Tests.Autograd;

public sealed class CoverageTests
{
    [Fact]
    public void SiblingChunksCoverTheirBaseWithoutGaps()
    {
        var coverage = new Coverage(10 * 12);
        foreach (long start in (long[])[4, 0, 8])
            Assert.Equal(Coverage.Finding.Fresh, coverage.Write(12, start, 4));
        Assert.True(coverage.IsFull);
        Assert.Equal(Coverage.Finding.Written, coverage.Write(12, 4, 4));
        Assert.Empty(coverage.Gaps());
    }

    [Fact]
    public void PartialOverlapIsMixedAndGapsAreNamed()
    {
        var coverage = new Coverage(100);
        Assert.Equal(Coverage.Finding.Fresh, coverage.Write(10, 2, 3));
        Assert.Equal(Coverage.Finding.Mixed, coverage.Write(10, 4, 3));
        Assert.Equal([(0L, 2L), (5L, 5L)], coverage.Gaps());
        Assert.Equal(Coverage.Finding.Mixed, coverage.Write(20, 0, 1));
        Assert.Equal(Coverage.Finding.Mixed, coverage.Write(100, 0, 100));
    }

    [Fact]
    public void AnEmptySliceIsAWriteThatCoversNothing()
    {
        var coverage = new Coverage(6);
        Assert.True(coverage.IsEmpty);
        Assert.Equal(Coverage.Finding.Written, coverage.Write(6, 0, 0));
        Assert.False(coverage.IsEmpty);
        Assert.Equal([(0L, 6L)], coverage.Gaps());
    }

    /// <summary>Random narrowed, transposed and reshaped views: the description must name exactly the view's elements, or give up.</summary>
    [Fact]
    public void DescribesExactlyTheElementsOfAView()
    {
        int seed = Numeric.FreshSeed();
        var random = new Random(seed);
        int described = 0;
        for (int round = 0; round < 500; round++)
        {
            using TensorScope scope = TensorScope.Begin();
            int[] sizes = [random.Next(1, 5), random.Next(1, 5), random.Next(1, 5)];
            Tensor whole = Tensor.From(Enumerable.Range(0, sizes[0] * sizes[1] * sizes[2]).ToArray(), new Shape(sizes));
            Tensor view = whole;
            for (int step = random.Next(4); step > 0; step--)
            {
                int axis = random.Next(view.Shape.Rank);
                int start = random.Next(view.Shape[axis]);
                view = random.Next(3) == 0 ? view.Transpose(axis, random.Next(view.Shape.Rank)) : view.Narrow(axis, start, random.Next(1, view.Shape[axis] - start + 1));
            }
            (long period, long first, long length) = Coverage.Describe(view.Shape.Dimensions, view.Strides, view.Offset, whole.Count);
            if (period < 0) continue;
            described++;
            IEnumerable<int> expected = Enumerable.Range(0, (int)whole.Count).Where(i => i % period >= first && i % period < first + length);
            Assert.True(expected.SequenceEqual(view.ToArray<int>().Order()), $"seed {seed}, round {round}: {view.Shape} of {whole.Shape}");
        }
        Assert.True(described > 100, $"seed {seed}: only {described} views were described");
    }
}
