using System.CommandLine;
using System.Text.Json.Nodes;
using Varlen.Cli.Benchmarks;
using Varlen.Cli.Reports;
using Varlen.Cli.Terminal;
using Varlen.Training;

namespace Varlen.Cli.Commands;

/// <summary>Options of the two commands that time whole steps, and what they do with them.</summary>
/// <param name="Command">step or gpt2.</param>
internal sealed record StepCommandOptions(string Command)
{
    // Padding and the dense mask grow past what a tensor can index.
    private const long MostRows = int.MaxValue, MostMaskTokens = 46340;
    // Weights and inputs are the same; what differs is the order of sums, and in half precision where it is rounded.
    private const double PeerTolerance = 1e-3, PeerHalfTolerance = 1.0 / 32;

    public Option<IReadOnlyList<StepStrategy>?> Strategies { get; init; } = OptionParsers.Make<IReadOnlyList<StepStrategy>?>("--strategy", "NAME,...",
        $"Some of {string.Join(", ", StepStrategy.All.Select(strategy => strategy.Name))}, or all; {(Command == "gpt2" ? "flattened,padded,padded-longest,padded-unpad" : "packed,padded")} by default.", StepStrategy.Parse);
    public Option<StepMode?> Mode { get; init; } = OptionParsers.Choice("--mode", "Evaluation or training; both by default.", ("eval", StepMode.Evaluate), ("train", StepMode.Train));
    public Option<string[]> Lengths { get; init; } = BenchCommand.LengthsOption("The 16 of benchmarks/peers/lengths/gpt_step.txt by default.");
    public Option<int?> Layers { get; init; } = OptionParsers.Integer("--layers", 1, 1024, "Blocks; 4 by default, 24 at full size.");
    public Option<int?> Width { get; init; } = OptionParsers.Integer("--width", 1, 1 << 16, "Width of the activations; 256 by default, 1024 at full size.");
    public Option<int?> Heads { get; init; } = OptionParsers.Integer("--heads", 1, 4096, "Attention heads, a divisor of the width; 4 by default, 16 at full size.");
    public Option<int?> Vocabulary { get; init; } = OptionParsers.Integer("--vocabulary", 2, 1 << 24, $"Token ids; {(Command == "gpt2" ? "1024" : "4096, 1024 at full size,")} by default.");
    public Option<int?> Context { get; init; } = OptionParsers.Integer("--context", 1, 1 << 24, "Positions of the model, and what padded pads to; by default the least power of two that holds the longest sequence, and at full size at least 1024.");
    public Option<DType?> ElementType { get; init; } = CommonOptions.ElementType("Type of weights and activations; float32 by default, bfloat16 on a GPU.");
    public Option<StepOptimizer?> Optimizer { get; init; } = OptionParsers.Choice("--optimizer", Command == "gpt2" ? "What training updates with; sgd by default." : "What training updates with; adamw by default, sgd with --reference.", ("adamw", StepOptimizer.AdamW), ("sgd", StepOptimizer.Sgd));
    public Option<DeviceChoice> Device { get; init; } = CommonOptions.DeviceName();
    public Option<bool> Deterministic { get; init; } = CommonOptions.Deterministic();
    public Option<Switch?> Capture { get; init; } = CommonOptions.Capture("the batch with the most rows");
    public Option<int?> Threads { get; init; } = CommonOptions.Threads();
    public Option<ulong?> Seed { get; init; } = OptionParsers.Seed("Seed of weights, tokens and drawn lengths; 0 by default.");
    public Option<int?> Rounds { get; init; } = BenchCommand.Rounds();
    public Option<int?> Warmup { get; init; } = OptionParsers.Integer("--warmup", 0, 1000, "Passes before the first that counts; by default 3, and on a GPU as many as take two seconds.");
    public Option<string?> Peer { get; init; } = new("--peer") { HelpName = "PYTHON", Description = "Also run PyTorch with this interpreter, on the same weights and batches, in turn with ours." };
    public Option<string?> Report { get; init; } = BenchCommand.Report();

    /// <summary>All, in the order of the help.</summary>
    public Option[] All => [Strategies, Mode, Lengths, Layers, Width, Heads, Vocabulary, Context, Optimizer, ElementType, Device, Deterministic, Capture, Threads, Seed, Rounds, Warmup, Peer, Report];

    /// <summary>Runs what was asked for.</summary>
    /// <param name="parse">The command line.</param>
    /// <param name="model">The model.</param>
    /// <param name="isFull">Whether defaults are the blog post's sizes.</param>
    /// <param name="usual">Strategies when none are named.</param>
    public int Run(ParseResult parse, StepModel model, bool isFull, IReadOnlyList<StepStrategy> usual)
    {
        CommonOptions.UseThreads(parse.GetValue(Threads));
        IReadOnlyList<StepStrategy> strategies = parse.GetValue(Strategies) ?? usual;
        IReadOnlyList<StepMode> modes = parse.GetValue(Mode) is { } mode ? [mode] : [StepMode.Evaluate, StepMode.Train];
        StepWorkload[] workloads = [.. Workloads(parse, model, isFull, parse.GetValue(Device).Open(parse.GetValue(Deterministic)))];
        foreach (StepWorkload batch in workloads.SelectMany(workload => workload.Batches))
            foreach (StepStrategy strategy in strategies) CheckSize(batch, strategy);
        if (parse.GetValue(Report) is { } folder) OutputFile.CreateFolder(folder);
        BenchCommand.WarnOfDebugBuild();
        var results = new List<StepResult>();
        foreach (StepWorkload workload in workloads)
        {
            StepResult result = StepBenchmark.Run(workload, modes, strategies, new StepRounds(parse.GetValue(Warmup), parse.GetValue(Rounds) ?? 7), parse.GetValue(Peer));
            results.Add(result);
            if (!parse.GetValue(CommonOptions.Json)) StepReport.Print(result);
            else foreach (JsonObject row in StepReport.Objects(Command, result)) JsonOutput.Write(row);
        }
        if (parse.GetValue(Report) is { } place) BenchCommand.Write(StepPage.Create(Command, results), place);
        foreach (StepResult result in results) CheckLosses(result);
        return (int)ExitCode.Done;
    }

    /// <summary>What was asked for on a device: a workload for each mix of lengths.</summary>
    /// <exception cref="CommandException">Sizes do not go together.</exception>
    public IEnumerable<StepWorkload> Workloads(ParseResult parse, StepModel model, bool isFull, Device device)
    {
        int width = parse.GetValue(Width) ?? (isFull ? 1024 : 256), heads = parse.GetValue(Heads) ?? (isFull ? 16 : 4);
        if (width % heads != 0) throw CommandException.Usage($"width {width} cannot be split into {heads} heads", "all heads are of one size", "make --width a multiple of --heads");
        if (width / heads > 256) throw CommandException.Usage($"width {width} in {heads} heads makes heads of {width / heads}", "a head has at most 256 features", "raise --heads");
        ulong seed = parse.GetValue(Seed) ?? 0;
        string[] given = parse.GetValue(Lengths) ?? [];
        LengthsSpec[] specs = given.Length == 0 ? [isFull ? LengthsSpec.Parse("uniform:1..1023x32", seed) : StepWorkload.DefaultLengths] : [.. given.Select(text => LengthsSpec.Parse(text, seed))];
        foreach (LengthsSpec lengths in specs) CheckTargets(lengths, model);
        int[] contexts = [.. specs.Select(lengths => ContextOf(parse, lengths, isFull))];
        CommonOptions.RequireType(device, parse.GetValue(ElementType), "--dtype");
        bool isBlog = model != StepModel.Decoder;
        return specs.Zip(contexts, (lengths, context) => new StepWorkload(lengths, parse.GetValue(Layers) ?? (isFull ? 24 : 4), width, heads, parse.GetValue(Vocabulary) ?? (isBlog ? 1024 : 4096), context, device,
            parse.GetValue(ElementType) ?? RunPlanner.DefaultPrecision(device), seed)
        {
            Model = model, Captures = parse.GetValue(Capture) == Switch.On, Optimizer = parse.GetValue(Optimizer) ?? (isBlog ? StepOptimizer.Sgd : StepOptimizer.AdamW),
        });
    }

    private int ContextOf(ParseResult parse, LengthsSpec lengths, bool isFull)
    {
        int longest = lengths.Lengths.Max(), least = StepWorkload.DefaultContext(lengths), context = parse.GetValue(Context) ?? (isFull ? Math.Max(1024, least) : least);
        return context >= longest ? context : throw CommandException.Usage($"--context {context} is too short", $"the longest sequence has {longest} tokens", $"give at least {longest}, or leave it out");
    }

    private static void CheckTargets(LengthsSpec lengths, StepModel model)
    {
        // HuggingFace's labels are a sequence's own tokens, and the first has nothing before it.
        int least = model == StepModel.Gpt2 ? 2 : 1;
        if (lengths.Batches.Any(batch => batch.All(length => length < least)))
            throw CommandException.Usage("there is nothing to measure", $"all lengths of {lengths.Name} are {(least == 1 ? "0" : "below 2")}{(lengths.Batches.Count > 1 ? ", in one of its batches" : "")}", $"give --lengths with at least one sequence of {(least == 1 ? "one token" : "two tokens")}");
    }

    private static void CheckSize(StepWorkload workload, StepStrategy strategy)
    {
        if (strategy.Rows(workload) is var rows && rows > MostRows)
            throw CommandException.Usage($"strategy {strategy} makes {rows} rows of this batch", $"a batch has at most {MostRows}", "use fewer or shorter sequences, or a smaller --context");
        if (workload.Captures && !strategy.TakesCapture)
            throw CommandException.Usage($"--capture on does not go with --strategy {strategy}", "its attention reads more of a batch than where sequences begin", "leave one of them out");
        if (strategy.Name == "dense-mask" && workload.Lengths.Tokens > MostMaskTokens)
            throw CommandException.Usage($"a dense mask over {workload.Lengths.Tokens} tokens cannot be indexed", $"it has a value for every pair of tokens, of at most {MostMaskTokens}", "use fewer or shorter sequences, or leave dense-mask out");
    }

    private static void CheckLosses(StepResult result)
    {
        StepWorkload workload = result.Workload;
        foreach (IGrouping<StepMode, StepRow> rows in result.Rows.GroupBy(row => row.Mode))
        {
            StepRow first = rows.First();
            foreach (StepRow row in rows)
                if (row.FirstDisagreement(first, workload.LossTolerance) is { } step)
                    throw new CommandException(ExitCode.CheckFailed, "the strategies disagree", $"step {step}, mode {StepReport.Name(row.Mode)}, strategy {row.Strategy}",
                        FormattableString.Invariant($"its loss is {row.Losses[step - 1]:R}, that of {first.Strategy} {first.Losses[step - 1]:R}; rounding explains {workload.LossTolerance:G3}"), "report it with the command line: the figures compare different computations");
            double tolerance = workload.DType is DType.Float32 or DType.Float64 ? PeerTolerance : PeerHalfTolerance;
            foreach (StepRow peer in result.Peers.Where(row => row.Mode == rows.Key))
                if (peer.FirstDisagreement(first, tolerance, steps: 1) is not null)
                    throw new CommandException(ExitCode.CheckFailed, "the peer computes something else", $"mode {StepReport.Name(peer.Mode)}, strategy {peer.Strategy}, {StepReport.Short(peer)}",
                        FormattableString.Invariant($"its first loss is {peer.Losses[0]:R}, ours {first.Losses[0]:R}; {tolerance:G3} may be rounding"), "report it with the command line: the figures compare different computations");
        }
    }
}
