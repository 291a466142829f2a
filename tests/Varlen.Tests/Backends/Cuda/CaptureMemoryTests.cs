using Varlen.Backends.Cuda.Attention;
using Varlen.Backends.Cuda.Capture;
using Varlen.Backends.Cuda.Native;
using Varlen.Ops;
using Xunit;

namespace Varlen.Tests.Backends.Cuda;

/// <summary>What a captured step works in: places in an arena, and lists that hold any batch.</summary>
public sealed class CaptureMemoryTests
{
    [Fact]
    public void PlacesDoNotOverlapAndDependOnTheOrderOfCallsAlone()
    {
        ArenaPlan first = new(), second = new();
        var random = new Random(5);
        List<(long Start, long Bytes)> living = [];
        long most = 0;
        for (int i = 0; i < 4000; i++)
        {
            if (living.Count > 0 && random.Next(2) == 0)
            {
                int which = random.Next(living.Count);
                first.Return(living[which].Start);
                second.Return(living[which].Start);
                living.RemoveAt(which);
                continue;
            }
            long bytes = 1 + random.Next(1 << random.Next(1, 16)), start = first.Take(bytes);
            Assert.Equal(start, second.Take(bytes));
            Assert.Equal(0, start % 256);
            Assert.True(start + bytes <= first.Extent);
            Assert.DoesNotContain(living, other => start < other.Start + other.Bytes && other.Start < start + bytes);
            living.Add((start, bytes));
            most = Math.Max(most, living.Sum(block => (block.Bytes + 255) / 256 * 256));
        }
        Assert.InRange(first.Extent, most, 2 * most);
        Assert.Equal(living.Count, first.Count);
        foreach ((long start, _) in living) first.Return(start);
        Assert.Equal((0, 0), (first.Count, first.Bytes));
        // Everything is one gap again.
        Assert.Equal(0, first.Take(first.Extent));
    }

    /// <summary>Values of the driver's header, as its own names for them say.</summary>
    [Fact]
    public void CodesAreTheDrivers()
    {
        Assert.Equal([0, 1, 2], Enum.GetValues<CaptureMode>().Select(mode => (int)mode));
        TestDevices.Cuda();
        Assert.Equal("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", Driver.Describe(CudaResult.CaptureUnsupported).Name);
        Assert.Equal("CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", Driver.Describe(CudaResult.CaptureWrongThread).Name);
    }

    [Theory]
    [InlineData(DType.Float32, 64)]
    [InlineData(DType.Float32, 256)]
    [InlineData(DType.BFloat16, 64)]
    public void ListsHoldEveryBatchWithinTheLimits(DType dtype, int headDim)
    {
        var shape = new AttentionShape(dtype, headDim);
        var random = new Random(9);
        for (int i = 0; i < 300; i++)
        {
            var limits = new ListLimits(random.Next(1, 3000), random.Next(1, 60), 0);
            limits = limits with { Longest = random.Next(1, limits.Tokens + 1) };
            List<AttentionSpan> spans = [];
            int typical = 1 << random.Next(12);
            for (int left = limits.Tokens; left > 0 && spans.Count < limits.Sequences;)
            {
                int length = Math.Min(left, Math.Min(limits.Longest, random.Next(0, typical + 1) + random.Next(2)));
                spans.Add(new AttentionSpan(0, limits.Tokens - left, limits.Tokens - left, length, length, 0));
                left -= length;
            }
            foreach (int rows in (int[])[shape.Rows, shape.Rows * shape.Slabs])
            {
                AttentionTiles tiles = AttentionTiles.Cut(spans, shape, rows, ofKeys: false, AttentionWindow.Causal, AttentionAlignment.BottomRight);
                AttentionList list = AttentionTiles.Most(limits, shape, rows);
                Assert.True(tiles.Whole <= list.Whole && tiles.Pairs <= list.Pairs && tiles.Singles <= list.Singles, $"{limits}: {string.Join(",", spans.Select(s => s.Queries))}");
                var values = new AttentionTile[list.Whole + list.Pairs + list.Singles];
                tiles.CopyTo(values, list);
                Assert.Equal(spans.Sum(s => s.Queries), values.Sum(tile => tile.Rows));
            }
            AttentionSpan[] longer = [.. spans.Where(s => !HopperChoice.IsShort(s))];
            Assert.True(longer.Length <= limits.SequencesFrom(HopperChoice.LongestShort + 1));
            foreach (int rows in (int[])[64, 128]) Assert.True(longer.Sum(s => (s.Queries + rows - 1) / rows) <= limits.Tiles(rows, HopperChoice.LongestShort + 1));
            AttentionSpan[] tall = [.. spans.Where(s => s.Queries >= HopperChoice.FewestTall)];
            Assert.True(tall.Sum(s => (s.Queries + 191) / 192) <= limits.Tiles(192, HopperChoice.FewestTall));
        }
    }

    [Theory]
    [MemberData(nameof(TestDevices.All), MemberType = typeof(TestDevices))]
    public void TailsAreFilledFromANumberOnTheDevice(string name)
    {
        Device device = TestDevices.Get(name);
        using TensorScope scope = TensorScope.Begin();
        foreach (int first in (int[])[0, 1, 4, 5])
            foreach (DType dtype in (DType[])[DType.Float32, DType.BFloat16])
            {
                Tensor whole = Tensor.Ones([5, 3, 8], dtype, device), count = Tensor.From([first], [], device);
                // The middle third of a fused projection, and its heads as the first dimension.
                ElementwiseCopy.FillTail(whole.Narrow(2, 2, 4), 0, count, 7);
                Assert.Equal(Expected((i, j, k) => i >= first && k is >= 2 and < 6), whole.ToArray<float>());
                whole = Tensor.Ones([5, 3, 8], dtype, device);
                ElementwiseCopy.FillTail(whole.Transpose(0, 1), 1, count, 7);
                Assert.Equal(Expected((i, j, k) => i >= first), whole.ToArray<float>());
            }

        static float[] Expected(Func<int, int, int, bool> filled)
            => [.. from i in Enumerable.Range(0, 5) from j in Enumerable.Range(0, 3) from k in Enumerable.Range(0, 8) select filled(i, j, k) ? 7f : 1f];
    }
}
