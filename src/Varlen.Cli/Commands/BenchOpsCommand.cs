using System.CommandLine;
using System.Text.Json.Nodes;
using Varlen.Cli.Benchmarks;
using Varlen.Cli.Terminal;
using Varlen.Training;

namespace Varlen.Cli.Commands;

/// <summary>varlen bench ops: the memory-bound steps around attention as shares of the copy bandwidth.</summary>
internal static class BenchOpsCommand
{
    public static Command Create()
    {
        var command = new Command("ops", "Norms, activations, losses and optimiser steps, as shares of the copy bandwidth.");
        Option<int?> threads = CommonOptions.Threads(), rounds = BenchCommand.Rounds();
        Option<int?> tokens = OptionParsers.Integer("--tokens", 1, 1 << 20, "Rows of the activations; 4096 by default.");
        Option<int?> features = OptionParsers.Integer("--features", 1, 1 << 16, "Features of a row; 1024 by default.");
        Option<DType?> type = OptionParsers.Choice("--dtype", "Type of the activations; float32 by default, bfloat16 on a GPU.", ("float32", DType.Float32), ("bfloat16", DType.BFloat16), ("float16", DType.Float16));
        Option<DeviceChoice> device = CommonOptions.DeviceName();
        foreach (Option option in (Option[])[threads, rounds, tokens, features, type, device]) command.Add(option);
        command.SetAction(parse =>
        {
            CommonOptions.UseThreads(parse.GetValue(threads));
            BenchCommand.WarnOfDebugBuild();
            Device opened = parse.GetValue(device).Open();
            DType dtype = parse.GetValue(type) ?? RunPlanner.DefaultPrecision(opened);
            OpsResult result = OpsBenchmark.Run(parse.GetValue(tokens) ?? 4096, parse.GetValue(features) ?? 1024, parse.GetValue(rounds) ?? 7, opened, dtype);
            if (parse.GetValue(CommonOptions.Json)) WriteJson(result, opened, dtype);
            else Print(result);
            return (int)ExitCode.Done;
        });
        return command;
    }

    private static void WriteJson(OpsResult result, Device device, DType dtype)
    {
        foreach (OpsRow row in result.Rows)
        {
            JsonOutput.Write(new JsonObject
            {
                ["op"] = row.Op, ["bytes"] = row.Bytes, ["threads"] = Device.CpuThreads, ["ms"] = JsonOutput.Number(row.Milliseconds),
                ["gb_s"] = JsonOutput.Number(row.GigabytesPerSecond, 2), ["ratio"] = JsonOutput.Number(row.Ratio), ["best_ratio"] = JsonOutput.Number(row.BestRatio),
            });
        }
        JsonOutput.Write(new JsonObject
        {
            ["summary"] = "ops", ["tokens"] = result.Tokens, ["features"] = result.Features, ["device"] = device.ToString(), ["dtype"] = dtype.ToString().ToLowerInvariant(), ["vector_bits"] = MachineInfo.VectorBits,
            ["copy_gb_s"] = JsonOutput.Number(result.CopyGigabytesPerSecond, 2), ["geomean_ratio"] = JsonOutput.Number(result.GeometricMeanRatio),
        });
    }

    private static void Print(OpsResult result)
    {
        var table = new Table(("op", 28), ("ms", 9), ("GB/s", 8), ("of copy", 8), ("at best", 8));
        foreach (OpsRow row in result.Rows)
            table.Row(row.Op, $"{row.Milliseconds:F3}", $"{row.GigabytesPerSecond:F2}", $"{row.Ratio:P1}", $"{row.BestRatio:P1}");
        Console.Out.WriteLine($"geometric mean {result.GeometricMeanRatio:P1} of the copy bandwidth; copy {result.CopyGigabytesPerSecond:F2} GB/s");
    }
}
