namespace Varlen.Cli.Benchmarks;

/// <summary>One start of the peer.</summary>
/// <param name="Strategy">What it ran.</param>
/// <param name="FirstRound">First of Varlen's rounds just before.</param>
/// <param name="Rounds">Their number.</param>
/// <param name="Milliseconds">Median time of its steps.</param>
/// <param name="LeastMilliseconds">Shortest one.</param>
internal sealed record StepPeerBlock(StepStrategy Strategy, int FirstRound, int Rounds, double Milliseconds, double LeastMilliseconds);

/// <summary>What was measured of the peer, in training.</summary>
/// <param name="Strategy">How it makes its batch.</param>
/// <param name="Milliseconds">Median over its starts.</param>
/// <param name="LeastMilliseconds">Shortest step of all.</param>
/// <param name="Ratio">Varlen's time under the same strategy over the peer's, the median over blocks; null when it was not measured.</param>
/// <param name="PackedRatio">Varlen's packed time over the peer's.</param>
internal sealed record StepPeerRow(StepStrategy Strategy, double Milliseconds, double LeastMilliseconds, double? Ratio, double? PackedRatio)
{
    /// <summary>Sums up the peer's starts, each beside the rounds that ran just before it.</summary>
    public static StepPeerRow From(StepStrategy strategy, IReadOnlyList<StepPeerBlock> blocks, IReadOnlyList<StepRow> rows)
    {
        return new(strategy, StepRow.Median([.. blocks.Select(block => block.Milliseconds)]), blocks.Min(block => block.LeastMilliseconds), Against(strategy), Against(StepStrategy.Packed));

        double? Against(StepStrategy own) => rows.FirstOrDefault(row => row.Mode == StepMode.Train && row.Strategy == own) is not { } row
            ? null : StepRow.Median([.. blocks.Select(block => StepRow.Median([.. row.Milliseconds.Skip(block.FirstRound).Take(block.Rounds)]) / block.Milliseconds)]);
    }
}
