using System.CommandLine;
using System.Text.Json.Nodes;
using Varlen.Cli.Benchmarks;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Commands;

/// <summary>varlen bench matmul: matrix products of Transformer layers as shares of the processor's arithmetic peak.</summary>
internal static class BenchMatMulCommand
{
    public static Command Create()
    {
        var command = new Command("matmul", "Matrix products of Transformer layers, as shares of the arithmetic peak.");
        Option<int?> threads = CommonOptions.Threads(), rounds = BenchCommand.Rounds();
        command.Add(threads);
        command.Add(rounds);
        command.SetAction(parse =>
        {
            BenchCommand.WarnOfDebugBuild();
            MatMulResult result = MatMulBenchmark.Run(parse.GetValue(threads) ?? Device.CpuThreads, parse.GetValue(rounds) ?? 7);
            if (parse.GetValue(CommonOptions.Json)) WriteJson(result);
            else Print(result);
            return (int)ExitCode.Done;
        });
        return command;
    }

    private static void WriteJson(MatMulResult result)
    {
        foreach (MatMulRow row in result.Rows)
        {
            JsonOutput.Write(new JsonObject
            {
                ["layout"] = row.Layout, ["m"] = row.M, ["n"] = row.N, ["k"] = row.K, ["threads"] = row.Threads,
                ["ms"] = JsonOutput.Number(row.Milliseconds), ["gflops"] = JsonOutput.Number(row.Gflops, 1),
                ["ratio"] = JsonOutput.Number(row.Ratio), ["best_ratio"] = JsonOutput.Number(row.BestRatio),
            });
        }
        JsonOutput.Write(new JsonObject
        {
            ["summary"] = "matmul", ["vector_bits"] = MachineInfo.VectorBits, ["peak_gflops"] = JsonOutput.Number(result.PeakGflops, 1),
            ["geomean_ratio"] = JsonOutput.Number(result.GeometricMeanRatio), ["geomean_best_ratio"] = JsonOutput.Number(result.GeometricMeanBestRatio),
        });
    }

    private static void Print(MatMulResult result)
    {
        var table = new Table(("layout", 6), ("m", 5), ("n", 5), ("k", 5), ("ms", 9), ("gflop/s", 8), ("of peak", 8), ("at best", 8));
        foreach (MatMulRow row in result.Rows)
            table.Row(row.Layout, $"{row.M}", $"{row.N}", $"{row.K}", $"{row.Milliseconds:F3}", $"{row.Gflops:F1}", $"{row.Ratio:P1}", $"{row.BestRatio:P1}");
        Console.Out.WriteLine($"geometric mean {result.GeometricMeanRatio:P1} of the peak, {result.GeometricMeanBestRatio:P1} at best; peak {result.PeakGflops:F1} gflop/s");
    }
}
