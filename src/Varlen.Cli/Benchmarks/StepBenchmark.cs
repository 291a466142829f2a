namespace Varlen.Cli.Benchmarks;

/// <summary>Rows of all modes and strategies, and of the peer where one ran.</summary>
internal sealed record StepResult(IReadOnlyList<StepRow> Rows, IReadOnlyList<StepPeerRow> Peers)
{
    /// <summary>The row of a mode and strategy, or null when it was not measured.</summary>
    public StepRow? Find(StepMode mode, StepStrategy strategy) => Rows.FirstOrDefault(row => row.Mode == mode && row.Strategy == strategy);
}

/// <summary>
/// Times whole steps. Every round takes one step of each case, so that what else the machine does meets all of them; a peer runs after every
/// few rounds, as often as they have, because it is a process that has to start and warm up.
/// </summary>
internal static class StepBenchmark
{
    private const int RoundsPerBlock = 3;

    /// <summary>Runs it.</summary>
    /// <param name="workload">Model and batch.</param>
    /// <param name="modes">What steps do.</param>
    /// <param name="strategies">How the batch is made.</param>
    /// <param name="warmup">Rounds before the first that counts.</param>
    /// <param name="rounds">Rounds that count.</param>
    /// <param name="peer">Runs between blocks of rounds; none when null.</param>
    public static StepResult Run(
        StepWorkload workload, IReadOnlyList<StepMode> modes, IReadOnlyList<StepStrategy> strategies, int warmup, int rounds, StepPeer? peer = null)
    {
        var cases = new List<StepCase>();
        try
        {
            foreach (StepMode mode in modes)
                foreach (StepStrategy strategy in strategies) cases.Add(new StepCase(workload, mode, strategy));
            var peers = new List<StepPeerBlock>();
            for (int round = 0; round < warmup; round++) Round(cases, counted: false);
            for (int first = 0; first < rounds; first += RoundsPerBlock)
            {
                int count = Math.Min(RoundsPerBlock, rounds - first);
                for (int round = 0; round < count; round++) Round(cases, counted: true);
                if (peer is null) continue;
                foreach (StepStrategy strategy in StepPeer.Strategies) peers.Add(peer.Run(strategy, first, count));
            }
            StepRow[] rows = [.. cases.Select(item => item.Row())];
            return new(rows, [.. peers.GroupBy(block => block.Strategy).Select(blocks => StepPeerRow.From(blocks.Key, [.. blocks], rows))]);
        }
        finally
        {
            foreach (StepCase item in cases) item.Dispose();
        }
    }

    private static void Round(List<StepCase> cases, bool counted)
    {
        foreach (StepCase item in cases) item.Step(counted);
    }
}
