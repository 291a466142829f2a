using System.Diagnostics;

namespace Varlen.Cli.Benchmarks;

/// <summary>Rows of all modes and strategies of one workload, and of the peer where one ran.</summary>
/// <param name="Workload">Model and batches.</param>
/// <param name="Rows">Varlen's.</param>
/// <param name="Peers">The peer's.</param>
/// <param name="Missing">What the peer could not run, and why.</param>
/// <param name="LimitGflops">Greatest of the limits measured between rounds, see <see cref="DevicePeak"/>.</param>
internal sealed record StepResult(StepWorkload Workload, IReadOnlyList<StepRow> Rows, IReadOnlyList<StepRow> Peers, IReadOnlyList<string> Missing, double LimitGflops)
{
    /// <summary>The row of a mode and strategy, or null when it was not measured.</summary>
    public StepRow? Find(StepMode mode, StepStrategy strategy) => Rows.FirstOrDefault(row => row.Mode == mode && row.Strategy == strategy);

    /// <summary>What the others of a mode are measured against; null when it was not measured.</summary>
    public StepRow? Packed(StepMode mode) => Find(mode, StepStrategy.Packed) ?? Find(mode, StepStrategy.Flattened);

    /// <summary>Whether all strategies have the same loss.</summary>
    public bool LossesAgree => Rows.GroupBy(row => row.Mode).All(rows => rows.All(row => row.FirstDisagreement(rows.First(), Workload.LossTolerance) is null));
}

/// <summary>How often cases are stepped.</summary>
/// <param name="Warmup">Rounds before the first that counts; null for 3, on a GPU for at least two seconds too, in which the host's code gets its final form.</param>
/// <param name="Rounds">Rounds that count.</param>
internal readonly record struct StepRounds(int? Warmup, int Rounds)
{
    private const int LeastWarmup = 3;
    private const double LeastSeconds = 2;

    /// <summary>Whether to warm up further.</summary>
    public bool IsCold(int done, double seconds, Device device) => done < (Warmup ?? LeastWarmup) || (Warmup is null && device != Device.Cpu && seconds < LeastSeconds);
}

/// <summary>Times whole steps. Every round takes the steps of each case, the peer's too, so that what else the machine does meets all of them.</summary>
internal static class StepBenchmark
{
    /// <summary>Runs it.</summary>
    /// <param name="workload">Model and batches.</param>
    /// <param name="modes">What steps do.</param>
    /// <param name="strategies">How batches are made.</param>
    /// <param name="rounds">How often.</param>
    /// <param name="python">The interpreter of the peer; none when null.</param>
    public static StepResult Run(StepWorkload workload, IReadOnlyList<StepMode> modes, IReadOnlyList<StepStrategy> strategies, StepRounds rounds, string? python = null)
    {
        var cases = new List<IStepCase>();
        using StepPeer? peer = python is null ? null : StepPeer.Start(python, workload);
        try
        {
            foreach (StepMode mode in modes)
            {
                foreach (StepStrategy strategy in strategies) cases.Add(new StepCase(workload, mode, strategy));
                if (peer is null) continue;
                foreach (StepStrategy strategy in strategies)
                    foreach (string variant in peer.Variants(strategy)) cases.Add(new StepPeerCase(peer, workload, mode, strategy, variant));
            }
            var limits = new List<double>();
            long start = Stopwatch.GetTimestamp();
            for (int done = 0; rounds.IsCold(done, Stopwatch.GetElapsedTime(start).TotalSeconds, workload.Device); done++) Round(cases, counted: false);
            for (int round = 0; round < rounds.Rounds; round++)
            {
                if (round == 0 || workload.Device == Device.Cpu) limits.Add(DevicePeak.Measure(workload.Device, workload.DType));
                Round(cases, counted: true);
            }
            StepPeerCase[] peers = [.. cases.OfType<StepPeerCase>()];
            return new(workload, [.. cases.OfType<StepCase>().Select(item => item.Row())], [.. peers.Where(item => item.Missing is null).Select(item => item.Row())],
                [.. peers.Select(item => item.Missing).OfType<string>()], limits.Max());
        }
        finally
        {
            foreach (IStepCase item in cases) item.Dispose();
        }
    }

    private static void Round(List<IStepCase> cases, bool counted)
    {
        foreach (IStepCase item in cases) item.Step(counted);
    }
}
