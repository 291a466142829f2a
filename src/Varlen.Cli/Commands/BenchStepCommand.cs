using System.CommandLine;
using Varlen.Cli.Benchmarks;
using Varlen.Cli.Terminal;
using Varlen.Training;

namespace Varlen.Cli.Commands;

/// <summary>varlen bench step: whole evaluation and training steps of a decoder under every strategy for sequences that differ in length.</summary>
internal static class BenchStepCommand
{
    // Padding and the dense mask grow past what a tensor can index.
    private const long MostRows = int.MaxValue, MostMaskTokens = 46340;
    private static readonly Option<IReadOnlyList<StepStrategy>?> Strategies = OptionParsers.Make<IReadOnlyList<StepStrategy>?>("--strategy", "NAME,...",
        "Some of packed, padded (to the context), padded-longest, jagged, block-diagonal, dense-mask; packed,padded by default.", StepStrategy.Parse);
    private static readonly Option<StepMode?> Mode = OptionParsers.Choice("--mode", "Evaluation with full attention or training with causal attention; both by default.",
        ("eval", StepMode.Evaluate), ("train", StepMode.Train));
    private static readonly Option<string> Lengths = new("--lengths") { HelpName = "FILE|uniform:A..BxN|fixed:LxN", Description = "Lengths of the sequences; a file has one a line, or a batch in each line. The 16 of benchmarks/peers/lengths/gpt_step.txt by default." };
    private static readonly Option<int?> Layers = OptionParsers.Integer("--layers", 1, 1024, "Blocks; 4 by default, 24 of the reference.");
    private static readonly Option<int?> Width = OptionParsers.Integer("--width", 1, 1 << 16, "Width of the activations; 256 by default, 1024 of the reference.");
    private static readonly Option<int?> Heads = OptionParsers.Integer("--heads", 1, 4096, "Attention heads, a divisor of the width; 4 by default, 16 of the reference.");
    private static readonly Option<int?> Vocabulary = OptionParsers.Integer("--vocabulary", 2, 1 << 24, "Token ids; 4096 by default, 1024 of the reference.");
    private static readonly Option<int?> Context = OptionParsers.Integer("--context", 1, 1 << 24, "Positions of the model, and what padded pads to; the least power of two that holds the longest sequence by default.");
    private static readonly Option<DType?> ElementType = CommonOptions.ElementType("Type of weights and activations; float32 by default, bfloat16 on a GPU.");
    private static readonly Option<DeviceChoice> DeviceOption = CommonOptions.DeviceName();
    private static readonly Option<bool> Reference = new("--reference") { Description = "The decoder of benchmarks/peers/steps.py: norms without bias, no final norm, an output layer with bias, and SGD; its sizes become the defaults." };
    private static readonly Option<StepOptimizer?> OptimizerOption = OptionParsers.Choice("--optimizer", "What training updates with; adamw by default, sgd with --reference.", ("adamw", StepOptimizer.AdamW), ("sgd", StepOptimizer.Sgd));
    private static readonly Option<bool> Deterministic = CommonOptions.Deterministic();
    private static readonly Option<int?> Threads = CommonOptions.Threads();
    private static readonly Option<ulong?> Seed = OptionParsers.Seed("Seed of weights, tokens and uniform lengths; 0 by default.");
    private static readonly Option<int?> Rounds = BenchCommand.Rounds();
    private static readonly Option<int?> Warmup = OptionParsers.Integer("--warmup", 0, 1000, "Passes before the first that counts; 3 by default.");
    private static readonly Option<string?> Peer = new("--peer") { HelpName = "PYTHON", Description = "Also run PyTorch's training step with this interpreter, in turn with ours; for the default sizes only." };

    public static Command Create()
    {
        var command = new Command("step", "Evaluation and training steps of a decoder, padded and not, beside each other.");
        foreach (Option option in (Option[])[Strategies, Mode, Lengths, Layers, Width, Heads, Vocabulary, Context, Reference, OptimizerOption, ElementType, DeviceOption, Deterministic, Threads, Seed, Rounds, Warmup, Peer]) command.Add(option);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult parse)
    {
        CommonOptions.UseThreads(parse.GetValue(Threads));
        IReadOnlyList<StepStrategy> strategies = parse.GetValue(Strategies) ?? [StepStrategy.Packed, StepStrategy.Padded];
        IReadOnlyList<StepMode> modes = parse.GetValue(Mode) is { } mode ? [mode] : [StepMode.Evaluate, StepMode.Train];
        StepWorkload workload = Workload(parse);
        foreach (StepStrategy strategy in strategies)
            foreach (StepWorkload batch in workload.Batches) CheckSize(batch, strategy);
        StepPeer? peer = null;
        if (parse.GetValue(Peer) is { } python)
        {
            if (workload.Lengths.Batches.Count > 1 || workload.Device != Device.Cpu || workload.IsReference) throw CommandException.Usage("--peer does not go with several batches, --reference or a GPU", "the peer takes steps of one batch on the CPU", "leave one of them out");
            if (!modes.Contains(StepMode.Train)) throw CommandException.Usage("--peer needs --mode train", "the peer measures training", "leave --mode out, or give train");
            peer = new StepPeer(python, workload, Device.CpuThreads);
        }
        BenchCommand.WarnOfDebugBuild();
        StepResult result = StepBenchmark.Run(workload, modes, strategies, parse.GetValue(Warmup) ?? 3, parse.GetValue(Rounds) ?? 7, peer);
        if (parse.GetValue(CommonOptions.Json)) StepReport.WriteJson(workload, result);
        else StepReport.Print(workload, result);
        CheckLosses(workload, result);
        return (int)ExitCode.Done;
    }

    private static StepWorkload Workload(ParseResult parse)
    {
        bool reference = parse.GetValue(Reference);
        int width = parse.GetValue(Width) ?? (reference ? 1024 : 256), heads = parse.GetValue(Heads) ?? (reference ? 16 : 4);
        if (width % heads != 0) throw CommandException.Usage($"width {width} cannot be split into {heads} heads", "all heads are of one size", "make --width a multiple of --heads");
        if (width / heads > 256) throw CommandException.Usage($"width {width} in {heads} heads makes heads of {width / heads}", "a head has at most 256 features", "raise --heads");
        ulong seed = parse.GetValue(Seed) ?? 0;
        LengthsSpec lengths = parse.GetValue(Lengths) is { } text ? LengthsSpec.Parse(text, seed) : StepWorkload.DefaultLengths;
        if (lengths.Batches.Any(batch => batch.All(length => length == 0))) throw CommandException.Usage("there is nothing to measure", $"all lengths of {lengths.Name} are 0{(lengths.Batches.Count > 1 ? ", in one of its batches" : "")}", "give --lengths with at least one token");
        int longest = lengths.Lengths.Max(), context = parse.GetValue(Context) ?? (reference ? Math.Max(1024, StepWorkload.DefaultContext(lengths)) : StepWorkload.DefaultContext(lengths));
        if (context < longest) throw CommandException.Usage($"--context {context} is too short", $"the longest sequence has {longest} tokens", $"give at least {longest}, or leave it out");
        Device device = parse.GetValue(DeviceOption).Open(parse.GetValue(Deterministic));
        CommonOptions.RequireType(device, parse.GetValue(ElementType), "--dtype");
        return new(lengths, parse.GetValue(Layers) ?? (reference ? 24 : 4), width, heads, parse.GetValue(Vocabulary) ?? (reference ? 1024 : 4096), context, device, parse.GetValue(ElementType) ?? RunPlanner.DefaultPrecision(device), seed)
        {
            IsReference = reference, Optimizer = parse.GetValue(OptimizerOption) ?? (reference ? StepOptimizer.Sgd : StepOptimizer.AdamW),
        };
    }

    private static void CheckSize(StepWorkload workload, StepStrategy strategy)
    {
        if (strategy.Rows(workload) is var rows && rows > MostRows)
            throw CommandException.Usage($"strategy {strategy} makes {rows} rows of this batch", $"a batch has at most {MostRows}", "use fewer or shorter sequences, or a smaller --context");
        if (strategy.Name == "dense-mask" && workload.Lengths.Tokens > MostMaskTokens)
            throw CommandException.Usage($"a dense mask over {workload.Lengths.Tokens} tokens cannot be indexed", $"it has a value for every pair of tokens, of at most {MostMaskTokens}", "use fewer or shorter sequences, or leave dense-mask out");
    }

    private static void CheckLosses(StepWorkload workload, StepResult result)
    {
        foreach (IGrouping<StepMode, StepRow> rows in result.Rows.GroupBy(row => row.Mode))
        {
            StepRow first = rows.First();
            foreach (StepRow row in rows)
                if (row.FirstDisagreement(first, workload.LossTolerance) is { } step)
                    throw new CommandException(ExitCode.CheckFailed, "the strategies disagree", $"step {step}, mode {StepReport.Name(row.Mode)}, strategy {row.Strategy}",
                        FormattableString.Invariant($"its loss is {row.Losses[step - 1]:R}, that of {first.Strategy} {first.Losses[step - 1]:R}; rounding explains {workload.LossTolerance:G3}"), "report it with the command line: the figures compare different computations");
        }
    }
}
