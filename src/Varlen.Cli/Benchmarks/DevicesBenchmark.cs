using System.Diagnostics;
using System.Runtime.ExceptionServices;

namespace Varlen.Cli.Benchmarks;

/// <summary>Training steps of one device.</summary>
/// <param name="Device">Which.</param>
/// <param name="Alone">While the others had nothing to do.</param>
/// <param name="Together">While all of them trained, each on a thread of its own.</param>
internal sealed record DeviceRow(Device Device, StepRow Alone, StepRow Together)
{
    /// <summary>How much of the speed that it has alone is left when all train; 1 when they do not hinder each other.</summary>
    public double Share => Alone.MedianMilliseconds / Together.MedianMilliseconds;
}

/// <summary>Times training steps on every device of one process, first one device after the other, then all at once.</summary>
internal static class DevicesBenchmark
{
    /// <summary>Runs it.</summary>
    /// <param name="workloads">What each device trains on.</param>
    /// <param name="rounds">How often.</param>
    public static IReadOnlyList<DeviceRow> Run(IReadOnlyList<StepWorkload> workloads, StepRounds rounds)
    {
        StepRow[] alone = [.. workloads.Select(workload => Together([workload], rounds)[0])], together = Together(workloads, rounds);
        return [.. workloads.Select((workload, i) => new DeviceRow(workload.Device, alone[i], together[i]))];
    }

    private static StepRow[] Together(IReadOnlyList<StepWorkload> workloads, StepRounds rounds)
    {
        var rows = new StepRow[workloads.Count];
        var failures = new ExceptionDispatchInfo?[workloads.Count];
        // Steps count from where all are warm; whoever fails leaves, so that the others do not wait for it.
        using var warm = new Barrier(workloads.Count);
        Thread[] threads = [.. workloads.Select((workload, i) => new Thread(() =>
        {
            bool waits = true;
            try
            {
                using var steps = new StepCase(workload, StepMode.Train, StepStrategy.Packed);
                long start = Stopwatch.GetTimestamp();
                for (int done = 0; rounds.IsCold(done, Stopwatch.GetElapsedTime(start).TotalSeconds, workload.Device); done++) steps.Step(counted: false);
                waits = false;
                warm.SignalAndWait();
                for (int round = 0; round < rounds.Rounds; round++) steps.Step(counted: true);
                rows[i] = steps.Row();
            }
            catch (Exception failure)
            {
                failures[i] = ExceptionDispatchInfo.Capture(failure);
                if (waits) warm.RemoveParticipant();
            }
        }) { Name = $"{workload.Device}" })];
        foreach (Thread thread in threads) thread.Start();
        foreach (Thread thread in threads) thread.Join();
        Array.Find(failures, failure => failure is not null)?.Throw();
        return rows;
    }
}
