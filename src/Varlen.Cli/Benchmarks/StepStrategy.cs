using Varlen.Cli.Terminal;
using Varlen.Data;

namespace Varlen.Cli.Benchmarks;

/// <summary>A sequence as attention sees it, padding included: every one of its queries may see every one of its keys.</summary>
internal readonly record struct AttendedSequence(int Queries, int Keys);

/// <summary>A way to make a batch of sequences that differ in length.</summary>
/// <param name="Name">As --strategy takes it.</param>
/// <param name="Title">What it does, in a few words.</param>
/// <param name="Collator">Makes the batch.</param>
/// <param name="Rows">Rows that a model computes.</param>
/// <param name="Attended">Sequences of its attention, causal or not.</param>
internal sealed record StepStrategy(
    string Name, string Title, Func<StepWorkload, ICollator> Collator, Func<StepWorkload, long> Rows, Func<StepWorkload, bool, IEnumerable<AttendedSequence>> Attended)
{
    /// <summary>No padding, variable-length attention: what the others are measured against.</summary>
    public static StepStrategy Packed { get; } = WithoutPadding("packed", "packed, with cumulative offsets", new ConcatCollator());

    /// <summary>Every sequence padded to the context.</summary>
    public static StepStrategy Padded { get; } = WithPadding("padded", "padded to the context", workload => new PadToMaximumCollator(workload.Context), workload => workload.Context);

    /// <summary>Every sequence padded to the longest of its batch.</summary>
    public static StepStrategy PaddedLongest { get; } = WithPadding("padded-longest", "padded to the longest", _ => new PadToLongestCollator(), workload => workload.Lengths.Lengths.Max());

    /// <summary>Padded to the context, and the padding taken out around attention alone.</summary>
    public static StepStrategy PaddedUnpad { get; } = new("padded-unpad", "padded, unpadded around attention", workload => new PadAndUnpadCollator(workload.Context),
        workload => (long)workload.Context * workload.Lengths.Lengths.Count, (workload, _) => Own(workload));

    /// <summary>Concatenated, with position ids from whose restarts the sequences are found again.</summary>
    public static StepStrategy Flattened { get; } = WithoutPadding("flattened", "flattened, with position ids", new FlattenCollator());

    /// <summary>All, in the order of the help.</summary>
    public static IReadOnlyList<StepStrategy> All { get; } =
    [
        Packed,
        Padded,
        PaddedLongest,
        PaddedUnpad,
        WithoutPadding("jagged", "jagged (nested) tensors", new NestedCollator()),
        WithoutPadding("block-diagonal", "block-diagonal mask", new BlockDiagonalCollator()),
        new("dense-mask", "concatenated, with a dense mask", _ => new DocumentMaskCollator(), workload => workload.Lengths.Tokens, (workload, _) => [new((int)workload.Lengths.Tokens, (int)workload.Lengths.Tokens)]),
        Flattened,
    ];

    /// <summary>Whether no row is padding and no score is computed in vain.</summary>
    public bool IsPacked => this == Packed || this == Flattened;

    /// <summary>Reads a list of names with commas between them; a repeated one counts once, and all stands for all.</summary>
    /// <exception cref="CommandException">A name is unknown.</exception>
    public static IReadOnlyList<StepStrategy> Parse(string text) => text == "all" ? All : [.. text.Split(',').Select(Named).Distinct()];

    /// <summary>Whether its step can be recorded: its attention reads no more of a batch than where sequences begin.</summary>
    public bool TakesCapture => Name is not ("dense-mask" or "padded-unpad");

    /// <inheritdoc/>
    public override string ToString() => Name;

    private static StepStrategy WithoutPadding(string name, string title, ICollator collator) => new(name, title, _ => collator, workload => workload.Lengths.Tokens, (workload, _) => Own(workload));

    // Causal attention goes over the padding, which no token sees; full attention over the queries of padding, but real keys alone.
    private static StepStrategy WithPadding(string name, string title, Func<StepWorkload, ICollator> collator, Func<StepWorkload, int> length) => new(name, title, collator,
        workload => (long)length(workload) * workload.Lengths.Lengths.Count,
        (workload, causal) => workload.Lengths.Lengths.Select(own => new AttendedSequence(length(workload), causal ? length(workload) : own)));

    private static IEnumerable<AttendedSequence> Own(StepWorkload workload) => workload.Lengths.Lengths.Select(length => new AttendedSequence(length, length));

    private static StepStrategy Named(string name)
        => All.FirstOrDefault(strategy => strategy.Name == name) ?? throw CommandException.Usage($"--strategy does not know '{name}'",
            fix: Spelling.Nearest(name, All.Select(strategy => strategy.Name)) is { } near ? $"did you mean {near}?" : $"give some of {string.Join(',', All.Select(strategy => strategy.Name))}, with commas between them, or all");
}
