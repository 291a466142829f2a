using System.Globalization;
using System.Text.Json.Nodes;
using Varlen.Cli.Reports;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Benchmarks;

/// <summary>What bench attention prints and reports.</summary>
internal static class AttentionPage
{
    /// <summary>The objects of --json: the rows and a summary.</summary>
    public static IEnumerable<JsonObject> Objects(IReadOnlyList<AttentionBenchmarkRow> rows, Device device, double copyGigabytes)
        => [.. rows.Select(row => Row(row, device)), new JsonObject
        {
            ["summary"] = "attention",
            ["vector_bits"] = MachineInfo.VectorBits,
            ["peak_gflops"] = JsonOutput.Number(Peak(rows), 1),
            ["copy_gb_s"] = JsonOutput.Number(copyGigabytes, 2),
        }];

    /// <summary>A table.</summary>
    public static void Print(IReadOnlyList<AttentionBenchmarkRow> rows, Device device)
    {
        AttentionBenchmarkRow first = rows[0];
        Console.Out.WriteLine($"{first.QueryHeads} heads on {first.KeyHeads}, head dim {first.HeadDim}, {first.DType}, {(device == Device.Cpu ? $"{first.Threads} threads" : device)}");
        var table = new Table(("lengths and window", 32), ("tokens", 8), ("pass", 8), ("ms", 10), ("gflop/s", 9), ("of peak", 8), ("at best", 8));
        foreach (AttentionBenchmarkRow row in rows)
        {
            string name = $"{row.Workload} {row.Window}", tokens = row.Tokens.ToString(CultureInfo.InvariantCulture);
            table.Row(name, tokens, "forward", $"{row.ForwardMs:F3}", $"{row.ForwardGflops:F1}", $"{row.ForwardRatio:P1}", $"{row.BestForwardRatio:P1}");
            if (row.BackwardMs is not null) table.Row(name, tokens, "backward", $"{row.BackwardMs:F3}", $"{row.BackwardGflops:F1}", $"{row.BackwardRatio:P1}", $"{row.BestBackwardRatio:P1}");
        }
        Console.Out.WriteLine($"peak {Peak(rows):F1} gflop/s");
    }

    /// <summary>The report.</summary>
    public static ReportDocument Create(IReadOnlyList<AttentionBenchmarkRow> rows, Device device, double copyGigabytes)
    {
        AttentionBenchmarkRow first = rows[0];
        List<ChartBar> forward = [], backward = [];
        var points = new List<RooflinePoint>();
        foreach (AttentionBenchmarkRow row in rows)
        {
            string name = $"{row.Workload}, {Mask(row.Window)}";
            forward.Add(new(name, row.ForwardRatio, $"{Milliseconds(row.ForwardMs)} ms · {Number(row.ForwardRatio, "P0")}", BarStyle.Main));
            points.Add(new($"{name}, forward", Intensity(row, row.ForwardMs * row.ForwardGflops, backward: false), row.ForwardGflops, 0));
            if (row is not { BackwardMs: { } ms, BackwardGflops: { } gflops, BackwardRatio: { } ratio }) continue;
            backward.Add(new(name, ratio, $"{Milliseconds(ms)} ms · {Number(ratio, "P0")}", BarStyle.Main));
            points.Add(new($"{name}, backward", Intensity(row, ms * gflops, backward: true), gflops, 1));
        }
        IReadOnlyList<string> headings = ["lengths and mask", "tokens", "forward, ms", "TFLOP/s", "of peak", "backward, ms", "TFLOP/s", "of peak"];
        IReadOnlyList<IReadOnlyList<string>> table = [.. rows.Select(row => (IReadOnlyList<string>)
        [
            $"{row.Workload}, {Mask(row.Window)}", Number(row.Tokens, "#,0"), Milliseconds(row.ForwardMs), Number(row.ForwardGflops * 1e-3, "0.####"), Number(row.ForwardRatio, "P1"),
            row.BackwardMs is { } ms ? Milliseconds(ms) : "", Optional(row.BackwardGflops * 1e-3, "0.####"), Optional(row.BackwardRatio, "P1"),
        ])];
        return new("Attention on sequences that differ in length", $"{first.QueryHeads} query heads on {first.KeyHeads} key heads of {first.HeadDim}, {first.DType}, {MachineInfo.Describe(device)}")
        {
            Sections =
            [
                Shares("Forward", "forward", forward),
                .. backward.Count > 0 ? [Shares("Backward", "backward", backward)] : (ReportSection[])[],
                new("Roofline: rate by operations for each byte")
                {
                    ChartName = "roofline", Chart = RooflineChart.Draw(points, copyGigabytes, Peak(rows)),
                    Notes = ["Only visible scores count as work: 4 operations for each of them and feature forward, 2.5 times that backward. Blue dots are forward passes, orange ones backward. Bytes are those of queries, keys, values, output and their gradients, each moved once. The limits are a plain copy and " + $"a {DevicePeak.Name(device)}, both measured in this run."],
                },
                new("All figures") { Table = (headings, table), IsWide = true },
            ],
            Circumstances = BenchmarkCircumstances.Of(device, Peak(rows)),
            Rows = [.. Objects(rows, device, copyGigabytes)],
        };
    }

    private static ReportSection Shares(string pass, string file, List<ChartBar> bars) => new($"{pass}, share of the arithmetic peak")
    {
        ChartName = file, Chart = BarChart.Draw($"{pass}, share of the arithmetic peak", bars, null, new Dictionary<BarStyle, string>()),
    };

    private static double Peak(IReadOnlyList<AttentionBenchmarkRow> rows) => Statistics.Median([.. rows.Select(row => row.PeakGflops)]);

    // Milliseconds times 10^9 operations a second are 10^6 operations.
    private static double Intensity(AttentionBenchmarkRow row, double megaoperations, bool backward)
        => megaoperations * 1e6 / ((backward ? 4.0 : 2.0) * row.Tokens * (row.QueryHeads + row.KeyHeads) * row.HeadDim * row.DType.Size());

    private static string Mask(string window) => window switch { "-1,-1" => "full", "-1,0" => "causal", _ => $"window {window}" };

    private static JsonObject Row(AttentionBenchmarkRow row, Device device) => new()
    {
        ["workload"] = row.Workload,
        ["hq"] = row.QueryHeads,
        ["hkv"] = row.KeyHeads,
        ["d"] = row.HeadDim,
        ["causal"] = row.Window == "-1,0",
        ["window"] = new JsonArray([.. row.Window.Split(',').Select(bound => (JsonNode)int.Parse(bound, CultureInfo.InvariantCulture))]),
        ["dtype"] = row.DType.ToString().ToLowerInvariant(),
        ["device"] = device.ToString(),
        ["threads"] = row.Threads,
        ["tokens"] = row.Tokens,
        ["peer"] = row.IsPortable ? "varlen, portable kernels" : "varlen",
        ["fwd_ms"] = JsonOutput.Number(row.ForwardMs),
        ["bwd_ms"] = Rounded(row.BackwardMs, 1),
        ["fwd_tflops"] = JsonOutput.Number(row.ForwardGflops * 1e-3),
        ["bwd_tflops"] = Rounded(row.BackwardGflops, 1e-3),
        ["fwd_ratio"] = JsonOutput.Number(row.ForwardRatio),
        ["bwd_ratio"] = Rounded(row.BackwardRatio, 1),
        ["fwd_best_ratio"] = JsonOutput.Number(row.BestForwardRatio),
        ["bwd_best_ratio"] = Rounded(row.BestBackwardRatio, 1),
    };

    private static JsonNode? Rounded(double? value, double factor) => value is { } number ? JsonOutput.Number(number * factor) : null;

    private static string Milliseconds(double value) => Number(value, value >= 100 ? "0" : value >= 10 ? "0.0" : value >= 1 ? "0.00" : "0.000");

    private static string Optional(double? value, string format) => value is { } number ? Number(number, format) : "";

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
