using Varlen.Backends.Cpu;
using Xunit;

namespace Varlen.Tests.Backends.Cpu;

public sealed class ThreadTeamTests
{
    private struct CountVisits : IParallelBody
    {
        internal int[] Visits;
        internal int Workers;

        public void Invoke(int worker, int workers)
        {
            Interlocked.Increment(ref Visits[worker]);
            if (worker == 0) Workers = workers;
        }
    }

    private struct Squares : IParallelItems
    {
        internal long[] Result;
        public readonly void Invoke(long item, int worker) => Interlocked.Add(ref Result[item], item * item);
    }

    private struct Throws : IParallelItems
    {
        internal long At;

        public readonly void Invoke(long item, int worker)
        {
            if (item == At) throw new InvalidOperationException($"item {item}");
        }
    }

    private struct Rounds : IParallelBody
    {
        internal ThreadTeam Team;
        internal int[] Progress;
        internal int Count;

        public readonly void Invoke(int worker, int workers)
        {
            for (int round = 1; round <= Count; round++)
            {
                Volatile.Write(ref Progress[worker], round);
                Team.Barrier(workers);
                for (int other = 0; other < workers; other++)
                {
                    // Nobody is behind this round, nor further than the next.
                    int seen = Volatile.Read(ref Progress[other]);
                    if (seen < round || seen > round + 1) throw new InvalidOperationException($"worker {other} is at {seen} in round {round}");
                }
            }
        }
    }

    private struct ThrowsBeforeBarrier : IParallelBody
    {
        internal ThreadTeam Team;
        internal int Thrower;

        public readonly void Invoke(int worker, int workers)
        {
            if (worker == Thrower) throw new InvalidOperationException("before the barrier");
            Team.Barrier(workers);
        }
    }

    private struct Nests : IParallelBody
    {
        internal ThreadTeam Team;
        internal int[] Inner;

        public readonly void Invoke(int worker, int workers)
        {
            var inner = new CountVisits { Visits = new int[workers] };
            Team.Run(ref inner);
            Inner[worker] = inner.Workers * 100 + inner.Visits[0];
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(7)]
    public void EveryWorkerRunsOnce(int size)
    {
        using var team = new ThreadTeam(size);
        for (int limit = 1; limit <= size + 1; limit++)
        {
            var body = new CountVisits { Visits = new int[size] };
            team.Run(ref body, limit);
            int expected = Math.Min(size, limit);
            Assert.Equal(expected, body.Workers);
            for (int worker = 0; worker < size; worker++) Assert.Equal(worker < expected ? 1 : 0, body.Visits[worker]);
        }
    }

    [Fact]
    public void ThousandsOfQuickJobsOfChangingSizeAllComplete()
    {
        using var team = new ThreadTeam(3);
        var visits = new int[3];
        for (int job = 0; job < 30_000; job++)
        {
            var body = new CountVisits { Visits = visits };
            team.Run(ref body, 1 + job % 3);
            // Long enough now and then for workers to park.
            if (job % 6_000 == 0) Thread.Sleep(5);
        }
        Assert.Equal([30_000, 20_000, 10_000], visits);
    }

    [Fact]
    public void ItemsRunOnceEach()
    {
        using var team = new ThreadTeam(3);
        foreach (int count in (ReadOnlySpan<int>)[0, 1, 2, 3, 1000])
        {
            var items = new Squares { Result = new long[count] };
            team.For(count, ref items);
            for (long i = 0; i < count; i++) Assert.Equal(i * i, items.Result[i]);
        }
    }

    [Fact]
    public void BarrierKeepsWorkersInStep()
    {
        using var team = new ThreadTeam(3);
        for (int repeat = 0; repeat < 20; repeat++)
        {
            var body = new Rounds { Team = team, Progress = new int[3], Count = 100 };
            team.Run(ref body);
            Assert.Equal([100, 100, 100], body.Progress);
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(99)]
    public void AnItemsExceptionReachesTheCallerAndTheTeamLivesOn(int at)
    {
        using var team = new ThreadTeam(3);
        for (int repeat = 0; repeat < 50; repeat++)
        {
            var items = new Throws { At = at };
            InvalidOperationException error = Assert.Throws<InvalidOperationException>(() => team.For(100, ref items));
            Assert.Equal($"item {at}", error.Message);
            var after = new CountVisits { Visits = new int[3] };
            team.Run(ref after);
            Assert.Equal([1, 1, 1], after.Visits);
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void AFailedWorkerReleasesTheBarrier(int thrower)
    {
        using var team = new ThreadTeam(3);
        for (int repeat = 0; repeat < 20; repeat++)
        {
            var body = new ThrowsBeforeBarrier { Team = team, Thrower = thrower };
            Assert.Throws<InvalidOperationException>(() => team.Run(ref body));
            var rounds = new Rounds { Team = team, Progress = new int[3], Count = 10 };
            team.Run(ref rounds);
        }
    }

    [Fact]
    public void AJobWithinAJobRunsOnItsCallerAlone()
    {
        using var team = new ThreadTeam(3);
        var body = new Nests { Team = team, Inner = new int[3] };
        team.Run(ref body);
        Assert.Equal([101, 101, 101], body.Inner);
    }

    [Fact]
    public void SeveralThreadsMayStartJobsAtOnce()
    {
        using var team = new ThreadTeam(3);
        var failures = new List<string>();
        Thread[] threads = Enumerable.Range(0, 4).Select(_ => new Thread(() =>
        {
            for (int job = 0; job < 2_000; job++)
            {
                var items = new Squares { Result = new long[20] };
                team.For(20, ref items);
                for (long i = 0; i < 20; i++)
                {
                    if (items.Result[i] == i * i) continue;
                    lock (failures) failures.Add($"job {job}: item {i} gave {items.Result[i]}");
                }
            }
        })).ToArray();
        foreach (Thread thread in threads) thread.Start();
        foreach (Thread thread in threads) thread.Join();
        Assert.Empty(failures);
    }

    [Fact]
    public void DisposeEndsTheThreadsAndMayBeRepeated()
    {
        var team = new ThreadTeam(3);
        team.Dispose();
        team.Dispose();
        var body = new CountVisits { Visits = new int[3] };
        Assert.Throws<ObjectDisposedException>(() => team.Run(ref body));
    }
}
