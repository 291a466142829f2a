using System.CommandLine;
using System.Text.Json.Nodes;
using Varlen.Cli.Benchmarks;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Commands;

/// <summary>varlen bench attention: packed attention as a share of the processor's arithmetic peak.</summary>
internal static class BenchAttentionCommand
{
    private static readonly Option<string> Lengths = new("--lengths") { HelpName = "FILE|uniform:A..BxN|fixed:LxN", Description = "Lengths of the sequences; a file has one a line. uniform:1..1023x32 by default." };
    private static readonly Option<int?> Heads = OptionParsers.Integer("--heads", 1, 4096, "Query heads; 16 by default.");
    private static readonly Option<int?> KeyHeads = OptionParsers.Integer("--kv-heads", 1, 4096, "Key heads, a divisor of the query heads; as many by default.");
    private static readonly Option<int?> HeadDim = OptionParsers.Integer("--head-dim", 1, 256, "Features of a head; 64 by default.");
    private static readonly Option<AttentionWindow?> Window = CommonOptions.Window();
    private static readonly Option<DType?> ElementType = OptionParsers.Choice("--dtype", "Storage type; float32 by default, bfloat16 on a GPU.",
        ("float32", DType.Float32), ("bfloat16", DType.BFloat16), ("float16", DType.Float16));
    private static readonly Option<AttentionBenchmarkMode?> Mode = OptionParsers.Choice("--mode", "The forward pass alone, or backward too; train by default.",
        ("eval", AttentionBenchmarkMode.Forward), ("train", AttentionBenchmarkMode.Backward));
    private static readonly Option<bool?> Kernels = OptionParsers.Choice<bool>("--kernels", "The GPU kernels that the sequences' lengths ask for, or the portable ones alone; auto by default.", ("auto", false), ("portable", true));
    private static readonly Option<DeviceChoice> DeviceOption = CommonOptions.DeviceName();
    private static readonly Option<bool> Deterministic = CommonOptions.Deterministic();
    private static readonly Option<int?> Threads = CommonOptions.Threads();
    private static readonly Option<ulong?> Seed = OptionParsers.Seed("Seed of uniform lengths; 0 by default.");
    private static readonly Option<int?> Rounds = BenchCommand.Rounds();

    public static Command Create()
    {
        var command = new Command("attention", "Packed attention, as shares of the arithmetic peak.");
        foreach (Option option in (Option[])[Lengths, Heads, KeyHeads, HeadDim, Window, ElementType, Mode, Kernels, DeviceOption, Deterministic, Threads, Seed, Rounds]) command.Add(option);
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult parse)
    {
        int heads = parse.GetValue(Heads) ?? 16, keyHeads = parse.GetValue(KeyHeads) ?? heads;
        if (heads % keyHeads != 0) throw CommandException.Usage($"{heads} query heads cannot share {keyHeads} key heads", "every key head serves equally many query heads", "make --heads a multiple of --kv-heads");
        Device device = parse.GetValue(DeviceOption).Open(parse.GetValue(Deterministic));
        LengthsSpec lengths = LengthsSpec.Parse(parse.GetValue(Lengths) ?? "uniform:1..1023x32", parse.GetValue(Seed) ?? 0);
        if (lengths.Batches.Count > 1) throw CommandException.Usage($"{lengths.Name} has {lengths.Batches.Count} batches", "attention is timed on one", "give a file with one length a line");
        if (device == Device.Cpu && parse.GetValue(Kernels) is not null) throw CommandException.Usage("--kernels chooses among kernels of a GPU", "the device is the CPU", "leave it out, or give --device cuda");
        AttentionWindow window = parse.GetValue(Window) ?? AttentionWindow.Full;
        BenchCommand.WarnOfDebugBuild();
        (int headDim, AttentionBenchmarkMode mode) = (parse.GetValue(HeadDim) ?? 64, parse.GetValue(Mode) ?? AttentionBenchmarkMode.Backward);
        AttentionBenchmarkRow row = device == Device.Cpu
            ? AttentionBenchmark.Run(lengths.Name, lengths.Lengths, heads, keyHeads, headDim, window, parse.GetValue(ElementType) ?? DType.Float32,
                parse.GetValue(Threads) ?? Device.CpuThreads, parse.GetValue(Rounds) ?? 7, mode, PeakFma.Measure)
            : CudaAttentionBenchmark.Run(lengths.Name, lengths.Lengths, heads, keyHeads, headDim, window, parse.GetValue(ElementType) ?? DType.BFloat16, parse.GetValue(Rounds) ?? 30, mode, device, parse.GetValue(Kernels) ?? false);
        if (parse.GetValue(CommonOptions.Json)) WriteJson(row, window, device, parse.GetValue(Kernels) ?? false);
        else Print(row, device);
        return (int)ExitCode.Done;
    }

    private static void WriteJson(AttentionBenchmarkRow row, AttentionWindow window, Device device, bool portable)
    {
        JsonOutput.Write(new JsonObject
        {
            ["workload"] = row.Workload,
            ["hq"] = row.QueryHeads,
            ["hkv"] = row.KeyHeads,
            ["d"] = row.HeadDim,
            ["causal"] = window == AttentionWindow.Causal,
            ["window"] = new JsonArray(window.Left, window.Right),
            ["dtype"] = row.DType.ToString().ToLowerInvariant(),
            ["device"] = device.ToString(),
            ["threads"] = row.Threads,
            ["tokens"] = row.Tokens,
            ["peer"] = portable ? "varlen, portable kernels" : "varlen",
            ["fwd_ms"] = JsonOutput.Number(row.ForwardMs),
            ["bwd_ms"] = Optional(row.BackwardMs, 1),
            ["fwd_tflops"] = JsonOutput.Number(row.ForwardGflops * 1e-3),
            ["bwd_tflops"] = Optional(row.BackwardGflops, 1e-3),
            ["fwd_ratio"] = JsonOutput.Number(row.ForwardRatio),
            ["bwd_ratio"] = Optional(row.BackwardRatio, 1),
            ["fwd_best_ratio"] = JsonOutput.Number(row.BestForwardRatio),
            ["bwd_best_ratio"] = Optional(row.BestBackwardRatio, 1),
        });
        JsonOutput.Write(new JsonObject
        {
            ["summary"] = "attention",
            ["vector_bits"] = MachineInfo.VectorBits,
            ["peak_gflops"] = JsonOutput.Number(row.PeakGflops, 1),
        });

        static JsonNode? Optional(double? value, double factor) => value is { } number ? JsonOutput.Number(number * factor) : null;
    }

    private static void Print(AttentionBenchmarkRow row, Device device)
    {
        Console.Out.WriteLine($"{row.Workload}: {row.Tokens} tokens, {row.QueryHeads} heads on {row.KeyHeads}, head dim {row.HeadDim}, window {row.Window}, {row.DType}, {(device == Device.Cpu ? $"{row.Threads} threads" : device)}");
        var table = new Table(("pass", 8), ("ms", 10), ("gflop/s", 8), ("of peak", 8), ("at best", 8));
        table.Row("forward", $"{row.ForwardMs:F3}", $"{row.ForwardGflops:F1}", $"{row.ForwardRatio:P1}", $"{row.BestForwardRatio:P1}");
        if (row.BackwardMs is not null) table.Row("backward", $"{row.BackwardMs:F3}", $"{row.BackwardGflops:F1}", $"{row.BackwardRatio:P1}", $"{row.BestBackwardRatio:P1}");
        Console.Out.WriteLine($"peak {row.PeakGflops:F1} gflop/s");
    }
}
