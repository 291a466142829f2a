using System.CommandLine;
using System.Text.Json.Nodes;
using Varlen.Cli.AttentionFiles;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Commands;

/// <summary>varlen attention: one call on tensors from a file, for comparisons with other frameworks.</summary>
internal static class AttentionCommand
{
    private static readonly Argument<string> Input = new("IN") { Description = "A safetensors file with query, key, value and cu_seq_q; docs/command-line.md describes it." };
    private static readonly Argument<string> Output = new("OUT") { Description = "The safetensors file to write: output, lse, and gradients when grad_out or grad_lse is given." };
    private static readonly Option<AttentionWindow?> Window = CommonOptions.Window();
    private static readonly Option<bool> Causal = new("--causal") { Description = "The same as --window -1,0." };
    private static readonly Option<double?> Scale = OptionParsers.Number("--scale", "S", value => double.IsFinite(value) && value > 0, "a finite positive number", "Factor of the scores; 1/sqrt(D) by default.");
    private static readonly Option<double?> Softcap = OptionParsers.Number("--softcap", "C", value => double.IsFinite(value) && value >= 0, "a finite number, 0 for none", "Bounds scores to C tanh(score / C); off by default.");
    private static readonly Option<AttentionAlignment?> Alignment = OptionParsers.Choice("--alignment", "How query and key sequences of unequal length line up; bottom-right by default.",
        ("bottom-right", AttentionAlignment.BottomRight), ("top-left", AttentionAlignment.TopLeft));
    private static readonly Option<DeviceChoice> DeviceOption = CommonOptions.DeviceName();
    private static readonly Option<DType?> ElementType = CommonOptions.ElementType("Type of the computation and the output; the inputs' by default.");
    private static readonly Option<TailPolicy?> Tail = OptionParsers.Choice("--tail", "What tokens after the last offset are; error by default.", ("error", TailPolicy.Error), ("padding", TailPolicy.Padding));
    private static readonly Option<bool> Deterministic = CommonOptions.Deterministic();
    private static readonly Option<int?> Threads = CommonOptions.Threads();

    public static Command Create()
    {
        var command = new Command("attention", "Compute attention on the tensors of a file.") { Input, Output };
        foreach (Option option in (Option[])[Window, Causal, Scale, Softcap, Alignment, DeviceOption, ElementType, Tail, Deterministic, Threads]) command.Add(option);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult parse)
    {
        AttentionWindow window = WindowOf(parse);
        DeviceChoice choice = parse.GetValue(DeviceOption);
        DType? dtype = parse.GetValue(ElementType);
        TailPolicy tail = parse.GetValue(Tail) ?? TailPolicy.Error;
        (string source, string target) = (parse.GetRequiredValue(Input), parse.GetRequiredValue(Output));
        if (choice.IsCuda && dtype == DType.Float64) throw CommandException.Usage($"--dtype float64 does not go with --device {choice}", "double precision is for the CPU only", "use --device cpu, or another type");
        if (Path.GetFullPath(source) == Path.GetFullPath(target)) throw CommandException.Usage("IN and OUT are the same file", "the inputs would be lost", "name another output");
        Device device = choice.Open(parse.GetValue(Deterministic));
        CommonOptions.RequireType(device, dtype, "--dtype");
        CommonOptions.UseThreads(parse.GetValue(Threads));

        using TensorScope scope = TensorScope.Begin();
        using AttentionInput input = AttentionInput.Read(source, dtype, tail, device);
        OutputFile.RequireWritable(target);
        var options = new AttentionOptions
        {
            Window = window,
            Alignment = parse.GetValue(Alignment) ?? AttentionAlignment.BottomRight,
            Scale = parse.GetValue(Scale),
            Softcap = parse.GetValue(Softcap),
            AlibiSlopes = input.AlibiSlopes,
            TailPolicy = tail,
            Deterministic = parse.GetValue(Deterministic),
        };
        (IReadOnlyList<(string Name, Tensor Value)> results, double seconds) = AttentionRun.Compute(input, options);
        OutputFile.Write(target, () => AttentionRun.Write(target, results));
        Report(parse, input, options, target, device, results, seconds);
        return (int)ExitCode.Done;
    }

    private static AttentionWindow WindowOf(ParseResult parse)
    {
        if (parse.GetValue(Causal) && parse.GetResult(Window) is not null)
            throw CommandException.Usage("--causal does not go with --window", "both say which keys are visible", "use one; --causal is --window -1,0");
        return parse.GetValue(Causal) ? AttentionWindow.Causal : parse.GetValue(Window) ?? AttentionWindow.Full;
    }

    private static void Report(ParseResult parse, AttentionInput input, AttentionOptions options, string target, Device device, IReadOnlyList<(string Name, Tensor Value)> results, double seconds)
    {
        Shape query = input.Query.Shape, key = input.Key.Shape;
        if (!parse.GetValue(CommonOptions.Json))
        {
            Console.Out.WriteLine($"{target}: {string.Join(", ", results.Select(result => $"{result.Name} {result.Value.Shape}"))}; sequences: {input.QueryLayout.Count}, {input.Query.DType} on {device}, {seconds * 1e3:F2} ms");
            return;
        }
        JsonOutput.Write(new JsonObject
        {
            ["status"] = "ok",
            ["output"] = target,
            ["tensors"] = new JsonArray([.. results.Select(result => (JsonNode)result.Name)]),
            ["device"] = device.ToString(),
            ["dtype"] = input.Query.DType.ToString().ToLowerInvariant(),
            ["sequences"] = input.QueryLayout.Count,
            ["query_tokens"] = query[0],
            ["key_tokens"] = input.KeyTokens,
            ["hq"] = query[1],
            ["hkv"] = key[-2],
            ["d"] = query[2],
            ["window"] = new JsonArray(options.Window.Left, options.Window.Right),
            ["threads"] = Device.CpuThreads,
            ["ms"] = JsonOutput.Number(seconds * 1e3),
        });
    }
}
