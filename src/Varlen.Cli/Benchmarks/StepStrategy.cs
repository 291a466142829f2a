using Varlen.Cli.Terminal;
using Varlen.Data;

namespace Varlen.Cli.Benchmarks;

/// <summary>A way to make a batch of sequences that differ in length.</summary>
/// <param name="Name">As --strategy takes it.</param>
/// <param name="Collator">Makes the batch.</param>
/// <param name="Attended">Lengths of the sequences as attention sees them, padding included; their sum is the rows.</param>
internal sealed record StepStrategy(string Name, Func<StepWorkload, ICollator> Collator, Func<StepWorkload, IEnumerable<int>> Attended)
{
    /// <summary>No padding, variable-length attention: what the others are measured against.</summary>
    public static StepStrategy Packed { get; } = new("packed", _ => new ConcatCollator(), workload => workload.Lengths.Lengths);

    /// <summary>Every sequence padded to the context.</summary>
    public static StepStrategy Padded { get; } = new("padded", workload => new PadToMaximumCollator(workload.Context), workload => workload.Lengths.Lengths.Select(_ => workload.Context));

    /// <summary>All, in the order of the help.</summary>
    public static IReadOnlyList<StepStrategy> All { get; } =
    [
        Packed,
        Padded,
        new("padded-longest", _ => new PadToLongestCollator(), workload => Enumerable.Repeat(workload.Lengths.Lengths.Max(), workload.Lengths.Lengths.Count)),
        new("jagged", _ => new NestedCollator(), workload => workload.Lengths.Lengths),
        new("block-diagonal", _ => new BlockDiagonalCollator(), workload => workload.Lengths.Lengths),
        new("dense-mask", _ => new DocumentMaskCollator(), workload => [(int)workload.Lengths.Tokens]),
    ];

    /// <summary>Reads a list of names with commas between them; a repeated one counts once.</summary>
    /// <exception cref="CommandException">A name is unknown.</exception>
    public static IReadOnlyList<StepStrategy> Parse(string text) => [.. text.Split(',').Select(Named).Distinct()];

    private static StepStrategy Named(string name)
        => All.FirstOrDefault(strategy => strategy.Name == name) ?? throw CommandException.Usage($"--strategy does not know '{name}'",
            fix: Spelling.Nearest(name, All.Select(strategy => strategy.Name)) is { } near ? $"did you mean {near}?" : $"give some of {string.Join(',', All.Select(strategy => strategy.Name))}, with commas between them");

    /// <summary>Rows that a model computes.</summary>
    public long Rows(StepWorkload workload) => Attended(workload).Sum(length => (long)length);

    /// <inheritdoc/>
    public override string ToString() => Name;
}
