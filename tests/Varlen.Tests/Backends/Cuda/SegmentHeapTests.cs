using Varlen.Backends.Cuda.Memory;
using Xunit;

namespace Varlen.Tests.Backends.Cuda;

/// <summary>Blocks of segments, against a plain model of what is taken and what is free; the segments are numbers alone.</summary>
public sealed class SegmentHeapTests
{
    private const long Mebibyte = 1 << 20;

    [Theory]
    [InlineData(1, 12)]
    [InlineData(2, 21)]
    [InlineData(3, 27)]
    public void BlocksAreTheSmallestThatFitAndBecomeSegmentsAgain(int seed, int mostBits)
    {
        var source = new Segments();
        var heap = new SegmentHeap(source);
        var random = new Random(seed);
        List<(long Start, long Bytes)> living = [];
        long used = 0, peak = 0;
        for (int i = 0; i < 6000; i++)
        {
            if (living.Count > 0 && random.Next(living.Count < 200 ? 9 : 20) >= 5)
            {
                int which = random.Next(living.Count);
                heap.Free((nint)living[which].Start);
                used -= living[which].Bytes;
                living.RemoveAt(which);
            }
            else
            {
                long bytes = random.NextInt64(1L << random.Next(1, mostBits + 1)), taken = Math.Max(512, (bytes + 511) / 512 * 512);
                (long Start, long Bytes)[] gaps = [.. source.Gaps(living).Where(gap => gap.Bytes >= taken && source.IsSmall(gap.Start) == taken < Mebibyte)];
                int segments = source.Taken;
                long start = heap.Allocate(bytes);
                Assert.Equal(0, start % SegmentHeap.Alignment);
                Assert.DoesNotContain(living, other => start < other.Start + other.Bytes && other.Start < start + taken);
                Assert.True(source.Holds(start, taken));
                Assert.Equal(gaps.Length == 0, source.Taken > segments);
                // The first in memory of the smallest ones.
                if (gaps.Length > 0) Assert.Equal(gaps.OrderBy(gap => gap.Bytes).ThenBy(gap => gap.Start).First().Start, start);
                living.Add((start, taken));
                used += taken;
                peak = Math.Max(peak, used);
            }
            Assert.Equal((used, peak, source.Bytes, living.Count), (heap.UsedBytes, heap.PeakBytes, heap.ReservedBytes, heap.Count));
            if (i == 3000)
            {
                heap.ResetPeak();
                peak = used;
            }
        }
        foreach ((long start, _) in living) heap.Free((nint)start);
        Assert.Equal((0, 0), (heap.UsedBytes, heap.Count));
        Assert.True(heap.ReservedBytes > 0);
        // Every segment is in one piece, or it would stay.
        heap.ReturnUnused();
        Assert.Equal((0, 0), (heap.ReservedBytes, source.Bytes));
    }

    [Fact]
    public void StepsOfDifferentLengthsNeedLittleMoreThanTheirPeak()
    {
        var source = new Segments();
        var heap = new SegmentHeap(source);
        var random = new Random(7);
        long[] weights = [.. Enumerable.Range(0, 40).Select(_ => (long)heap.Allocate(3 * Mebibyte))];
        long last = 0;
        for (int step = 0; step < 60; step++)
        {
            int segments = source.Taken;
            long rows = 12_000 + random.Next(8_000);
            Stack<nint> saved = new();
            for (int layer = 0; layer < 24; layer++)
            {
                nint scratch = heap.Allocate(rows * 8192);
                for (int i = 0; i < 5; i++) saved.Push(heap.Allocate(rows * 2048));
                heap.Free(scratch);
            }
            for (int layer = 0; layer < 24; layer++)
            {
                nint gradient = heap.Allocate(rows * 2048), scratch = heap.Allocate(rows * 6144);
                for (int i = 0; i < 5; i++) heap.Free(saved.Pop());
                heap.Free(gradient);
                heap.Free(scratch);
            }
            if (source.Taken > segments) last = step;
        }
        // 18 % with these sizes, which differ by two thirds from step to step: a worse rule for new segments would show.
        Assert.InRange(heap.ReservedBytes, heap.PeakBytes, heap.PeakBytes * 6 / 5);
        Assert.InRange(last, 0, 30);
        Assert.Equal(40 * 3 * Mebibyte, heap.UsedBytes);
    }

    [Fact]
    public void AStepLikeTheLastOneTakesNoSegmentAndAllocatesNothing()
    {
        var source = new Segments();
        var heap = new SegmentHeap(source);
        nint[] blocks = new nint[300];
        Step();
        Step();
        int taken = source.Taken;
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10; i++) Step();
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        Assert.Equal(taken, source.Taken);

        void Step()
        {
            for (int i = 0; i < blocks.Length; i++) blocks[i] = heap.Allocate(1000L * (i + 1) * (i % 7 == 0 ? 100 : 1));
            for (int i = 0; i < blocks.Length; i += 2) heap.Free(blocks[i]);
            for (int i = 0; i < blocks.Length; i += 2) blocks[i] = heap.Allocate(900L * (i + 1));
            foreach (nint block in blocks) heap.Free(block);
        }
    }

    [Fact]
    public void FreeSegmentsGiveWayToALargerOne()
    {
        var source = new Segments { Limit = 200 * Mebibyte };
        var heap = new SegmentHeap(source);
        nint first = heap.Allocate(60 * Mebibyte), second = heap.Allocate(70 * Mebibyte);
        heap.Free(first);
        heap.Free(second);
        // 130 of 200 are reserved, and 190 are wanted in one piece.
        nint large = heap.Allocate(190 * Mebibyte);
        Assert.NotEqual(0, large);
        Assert.Equal((190 * Mebibyte, 190 * Mebibyte), (heap.ReservedBytes, heap.UsedBytes));
        heap.Free(large);
        // A little more than the next one: what was free stays of use.
        Assert.Equal(large, heap.Allocate(100 * Mebibyte));
    }

    [Fact]
    public void WithoutRoomASmallBlockComesFromALargeSegmentAndThenNothingComes()
    {
        var source = new Segments { Limit = 64 * Mebibyte };
        var heap = new SegmentHeap(source);
        nint large = heap.Allocate(40 * Mebibyte), next = heap.Allocate(10 * Mebibyte);
        Assert.NotEqual(0, next);
        heap.Free(next);
        source.Limit = source.Bytes;
        nint small = heap.Allocate(100);
        Assert.Equal(next, small);
        Assert.Equal(0, heap.Allocate(40 * Mebibyte));
        Assert.Equal(40 * Mebibyte + 512, heap.UsedBytes);
        heap.Free(small);
        heap.Free(large);
        Assert.NotEqual(0, heap.Allocate(40 * Mebibyte));
    }

    [Fact]
    public void WhatStaysFreeIsGivenBack()
    {
        var source = new Segments();
        var heap = new SegmentHeap(source);
        nint kept = heap.Allocate(100);
        heap.Free(heap.Allocate(500 * Mebibyte));
        for (long i = 0; i < 2 * SegmentHeap.MostIdle; i++) heap.Free(heap.Allocate(100));
        Assert.Equal(2 * Mebibyte, heap.ReservedBytes);
        heap.Free(kept);
        Assert.Throws<ArgumentException>(() => heap.Free(kept));
    }

    private sealed class Segments : ISegmentSource
    {
        private readonly SortedDictionary<long, long> _segments = [];
        private long _next = 1 << 21;

        public long Limit { get; set; } = long.MaxValue;

        public int Taken { get; private set; }

        public long Bytes { get; private set; }

        public nint Take(long bytes)
        {
            if (Bytes + bytes > Limit) return 0;
            Assert.Equal(0, bytes % (2 * Mebibyte));
            Bytes += bytes;
            Taken++;
            _segments.Add(_next, bytes);
            long start = _next;
            // Neighbours at times: segments must not become one all the same.
            _next += bytes + (Taken % 2) * 2 * Mebibyte;
            return (nint)start;
        }

        public void Return(nint segment, long bytes)
        {
            Assert.True(_segments.Remove(segment, out long size));
            Assert.Equal(size, bytes);
            Bytes -= bytes;
        }

        public bool IsSmall(long start) => Segment(start).Bytes < 32 * Mebibyte;

        public bool Holds(long start, long bytes) => Segment(start) is var (first, size) && first <= start && start + bytes <= first + size;

        public IEnumerable<(long Start, long Bytes)> Gaps(IEnumerable<(long Start, long Bytes)> living)
        {
            Queue<(long Start, long Bytes)> taken = new(living.OrderBy(block => block.Start));
            foreach ((long start, long bytes) in _segments)
            {
                long at = start;
                while (taken.TryPeek(out (long Start, long Bytes) block) && block.Start < start + bytes)
                {
                    if (block.Start > at) yield return (at, block.Start - at);
                    at = block.Start + taken.Dequeue().Bytes;
                }
                if (at < start + bytes) yield return (at, start + bytes - at);
            }
        }

        private (long Start, long Bytes) Segment(long start)
        {
            KeyValuePair<long, long> segment = _segments.Last(segment => segment.Key <= start);
            return (segment.Key, segment.Value);
        }
    }
}
