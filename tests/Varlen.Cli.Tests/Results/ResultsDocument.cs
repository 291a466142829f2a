using System.Globalization;
using System.Text;
using System.Text.Json;
using Varlen.Cli.Benchmarks;
using Varlen.Cli.Reports;

namespace Varlen.Cli.Tests.Results;

/// <summary>The tables and plots of docs/results.md, from the files of benchmarks/results alone.</summary>
internal static class ResultsDocument
{
    private static readonly Dictionary<BarStyle, string> Styles = new()
    {
        [BarStyle.Main] = "Varlen, without padding", [BarStyle.Other] = "Varlen, other strategies", [BarStyle.Peer] = "PyTorch in the same run", [BarStyle.Elsewhere] = "recorded on another machine",
    };

    // What a table says whose file is not there.
    private const string Missing = "Not recorded yet.\n";

    /// <summary>Tables by name.</summary>
    public static IReadOnlyDictionary<string, string> Tables() => new Dictionary<string, string>
    {
        ["decoder-gpu"] = Gpu("reference", "cuda-step.jsonl"),
        ["gpt2-gpu"] = Gpu("gpt2", "cuda-gpt2.jsonl"),
        ["decoder-cpu"] = Cpu("cpu-step.jsonl"),
        ["gpt2-cpu"] = Cpu("cpu-gpt2.jsonl"),
        ["lengths-cpu"] = Lengths("cpu-lengths.jsonl"),
        ["attention-gpu"] = AttentionGpu(),
        ["attention-cpu"] = AttentionCpu(),
        ["readme-cpu"] = Short("cpu-step.jsonl", "times packed"),
        ["readme-gpu"] = Short("cuda-step.jsonl", "times packed"),
    };

    /// <summary>Plots by file name.</summary>
    public static IReadOnlyDictionary<string, string> Plots() => new Dictionary<string, string>
    {
        ["decoder-gpu-eval.svg"] = GpuPlot("reference", "cuda-step.jsonl", "eval"),
        ["decoder-gpu-train.svg"] = GpuPlot("reference", "cuda-step.jsonl", "train"),
        ["gpt2-gpu-train.svg"] = GpuPlot("gpt2", "cuda-gpt2.jsonl", "train"),
        ["decoder-cpu-eval.svg"] = CpuPlot("cpu-step.jsonl", "eval"),
        ["decoder-cpu-train.svg"] = CpuPlot("cpu-step.jsonl", "train"),
    };

    // Every source is a machine of its own; what one has not measured stays empty.
    private static (string Heading, IReadOnlyList<RecordedStep> Steps, bool IsOwn)[] Sources(string model, string own)
    {
        IReadOnlyList<RecordedStep> mine = RecordedStep.Read(own);
        return
        [
            ("the blog post, H100", RecordedStep.Read("blog-h100.jsonl", model), false),
            ("PyTorch 2.11, H200", RecordedStep.Read("pytorch-h200.jsonl", model), false),
            ("PyTorch 2.11, H100", [.. mine.Where(step => !step.IsOwn)], false),
            ("Varlen, H100", [.. mine.Where(step => step.IsOwn)], true),
        ];
    }

    private static string Gpu(string model, string own)
    {
        var sources = Sources(model, own).Where(source => source.Steps.Count > 0).ToArray();
        var text = new StringBuilder($"| step | {string.Join(" | ", sources.Select(source => source.Heading))} |\n|---|{string.Concat(sources.Select(_ => "---:|"))}\n");
        foreach (string mode in (string[])["eval", "train"])
            foreach (string strategy in StepStrategy.All.Select(strategy => strategy.Name))
            {
                string[] cells = [.. sources.Select(source => string.Join(" / ", source.Steps.Where(step => step.Mode == mode && step.Strategy == strategy)
                    .Select(step => $"{Number(step.Milliseconds, "0.#")}{(step.Variant == "compile" ? " compiled" : "")}")))];
                if (cells.Any(cell => cell.Length > 0)) text.Append(CultureInfo.InvariantCulture, $"| {mode} {strategy} | {string.Join(" | ", cells)} |\n");
            }
        return text.ToString();
    }

    private static string GpuPlot(string model, string own, string mode)
    {
        var bars = new List<ChartBar>();
        foreach ((string heading, IReadOnlyList<RecordedStep> steps, bool isOwn) in Sources(model, own).Reverse())
        {
            string who = heading.Replace(" 2.11", "", StringComparison.Ordinal);
            foreach (RecordedStep step in steps.Where(step => step.Mode == mode).GroupBy(step => step.Strategy).Select(group => group.MinBy(step => step.Milliseconds)!))
                bars.Add(new($"{who}: {step.Strategy}{(step.Variant == "compile" ? ", compiled" : "")}", step.Milliseconds, $"{Number(step.Milliseconds, "0.#")} ms", isOwn ? BarStyle.Main : heading.EndsWith("H100", StringComparison.Ordinal) && heading.StartsWith("PyTorch", StringComparison.Ordinal) ? BarStyle.Peer : BarStyle.Elsewhere));
        }
        return HtmlPage.StandAlone(BarChart.Draw($"{mode}, milliseconds a step", bars, null, Styles));
    }

    private static string Cpu(string file)
    {
        var text = new StringBuilder("| step | ms | with batch, ms | real tokens/s | peak, GiB | times packed | by counted work | share of it |\n|---|---:|---:|---:|---:|---:|---:|---:|\n");
        IReadOnlyList<RecordedStep> steps = RecordedStep.Read(file);
        if (steps.Count == 0) return Missing;
        foreach (RecordedStep step in steps)
        {
            RecordedStep packed = steps.First(other => other.IsOwn && other.Mode == step.Mode && other.Strategy is "packed" or "flattened");
            // A peer's ratio is the median of rounds too: what ours is of it, turned around.
            double? times = step.IsOwn ? step["times_packed"] : 1 / step["varlen_packed_ratio"];
            text.Append(CultureInfo.InvariantCulture, $"| {step.Mode} {step.Strategy}{(step.IsOwn ? "" : $", {Name(step.Peer)}")} | {Number(step.Milliseconds, "0.0")} | {Number(step["upload_ms"], "0.0")} | {Number(step["tok_per_s"], "0")} | {Number(step["peak_gib"], "0.000")} | {Number(times, "0.00")} | {Number(step["counted_times_packed"], "0.00")} | {Number(step["of_counted"], "P0")} |\n");
        }
        return text.ToString();
    }

    // A row for each strategy of each program, with what both modes took.
    private static string Short(string file, string ratio)
    {
        var text = new StringBuilder($"| | evaluation, ms | {ratio} | training, ms | {ratio} | peak in training, GiB |\n|---|---:|---:|---:|---:|---:|\n");
        RecordedStep[] steps = [.. RecordedStep.Read(file).Where(step => step.Strategy is "packed" or "padded")];
        double Packed(string mode) => steps.First(step => step.IsOwn && step.Strategy == "packed" && step.Mode == mode).Milliseconds;
        foreach (IGrouping<string, RecordedStep> rows in steps.GroupBy(step => $"{(step.IsOwn ? "Varlen" : Name(step.Peer))}, {step.Strategy}{(step.Variant == "compile" ? ", compiled" : "")}"))
        {
            string Pair(string mode) => rows.FirstOrDefault(step => step.Mode == mode) is not { } step ? " | "
                : $"{Number(step.Milliseconds, "0.0")} | {Number(step["times_packed"] ?? 1 / step["varlen_packed_ratio"] ?? step.Milliseconds / Packed(mode), "0.00")}";
            text.Append(CultureInfo.InvariantCulture, $"| {rows.Key} | {Pair("eval")} | {Pair("train")} | {Number(rows.FirstOrDefault(step => step.Mode == "train")?["peak_gib"], "0.##")} |\n");
        }
        return text.ToString();
    }

    private static string CpuPlot(string file, string mode)
    {
        IReadOnlyList<RecordedStep> steps = [.. RecordedStep.Read(file).Where(step => step.Mode == mode)];
        RecordedStep? packed = steps.FirstOrDefault(step => step.IsOwn && step.Strategy is "packed" or "flattened");
        return HtmlPage.StandAlone(BarChart.Draw($"{mode}, milliseconds a step", [.. steps.Select(step => new ChartBar(
            step.IsOwn ? StepStrategy.All.First(strategy => strategy.Name == step.Strategy).Title : $"{Name(step.Peer)}: {step.Strategy}", step.Milliseconds, $"{Number(step.Milliseconds, "0")} ms{(step == packed ? "" : $" · {Number(step.IsOwn ? step["times_packed"] : 1 / step["varlen_packed_ratio"], "0.00")} ×")}",
            !step.IsOwn ? BarStyle.Peer : step.Strategy is "packed" or "flattened" ? BarStyle.Main : BarStyle.Other, step["q1_ms"] is { } from ? (from, step["q3_ms"]!.Value) : null,
            step == packed || !step.IsOwn ? null : packed!.Milliseconds * step["counted_times_packed"]))], "expected from packed by counted work", Styles));
    }

    private static string Lengths(string file)
    {
        var text = new StringBuilder("| lengths | step | real tokens | padded tokens | packed, ms | padded, ms | padded over packed | by counted work | share of it |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n");
        IReadOnlyList<RecordedStep> steps = RecordedStep.Read(file);
        if (steps.Count == 0) return Missing;
        foreach (RecordedStep padded in steps.Where(step => step.IsOwn && step.Strategy == "padded"))
        {
            RecordedStep packed = steps.First(step => step.IsOwn && step.Strategy == "packed" && step.Mode == padded.Mode && step.Workload == padded.Workload);
            text.Append(CultureInfo.InvariantCulture, $"| {padded.Workload} | {padded.Mode} | {Number(padded["real_tokens"], "0")} | {Number(padded["padded_tokens"], "0")} | {Number(packed.Milliseconds, "0.0")} | {Number(padded.Milliseconds, "0.0")} | {Number(padded["times_packed"], "0.00")} | {Number(padded["counted_times_packed"], "0.00")} | {Number(padded["of_counted"], "P0")} |\n");
        }
        return text.ToString();
    }

    private static string AttentionGpu()
    {
        var text = new StringBuilder("| sequences | heads x dim | mask | Varlen, H100: forward, backward | `varlen_attn`, H100 | cuDNN dense, H100 |\n|---|---|---|---:|---:|---:|\n");
        IReadOnlyList<JsonElement> peers = RecordedFile.Lines("pytorch-h100-attention.jsonl");
        foreach (JsonElement row in RecordedFile.Lines("cuda-attention.jsonl").Where(row => row.TryGetProperty("fwd_ms", out _)))
        {
            bool causal = row.GetProperty("causal").GetBoolean();
            int[] window = [.. row.GetProperty("window").EnumerateArray().Select(side => side.GetInt32())];
            string mask = causal ? "causal" : window[0] < 0 && window[1] < 0 ? "full" : $"window {window[0]}, {window[1]}";
            // PyTorch was timed without windows.
            string Peer(string name) => mask.StartsWith("window", StringComparison.Ordinal) ? "" : peers.Where(peer => peer.TryGetProperty("peer", out JsonElement who) && who.GetString() == name && peer.GetProperty("workload").GetString() == row.GetProperty("workload").GetString()
                && peer.GetProperty("d").GetInt32() == row.GetProperty("d").GetInt32() && peer.GetProperty("causal").GetBoolean() == causal).Select(Pair).FirstOrDefault("");
            text.Append(CultureInfo.InvariantCulture, $"| {row.GetProperty("workload").GetString()} | {row.GetProperty("hq")} x {row.GetProperty("d")} | {mask} | {Pair(row)} | {Peer("varlen_attn")} | {Peer("dense_CUDNN_ATTENTION")} |\n");
        }
        return text.ToString();

        static string Pair(JsonElement row) => $"{Number(row.GetProperty("fwd_ms").GetDouble(), "0.000")}, {Number(row.GetProperty("bwd_ms").GetDouble(), "0.000")} ms";
    }

    private static string AttentionCpu()
    {
        var text = new StringBuilder("| sequences | mask | forward, ms | of peak | backward, ms | of peak |\n|---|---|---:|---:|---:|---:|\n");
        foreach (JsonElement row in RecordedFile.Lines("cpu-attention.jsonl").Where(row => row.TryGetProperty("fwd_ms", out _)))
            text.Append(CultureInfo.InvariantCulture, $"| {row.GetProperty("workload").GetString()} | {(row.GetProperty("causal").GetBoolean() ? "causal" : "full")} | {Number(row.GetProperty("fwd_ms").GetDouble(), "0")} | {Number(row.GetProperty("fwd_ratio").GetDouble(), "P0")} | {Number(row.GetProperty("bwd_ms").GetDouble(), "0")} | {Number(row.GetProperty("bwd_ratio").GetDouble(), "P0")} |\n");
        return text.ToString();
    }

    private static string Name(string peer) => peer == "pytorch" ? "PyTorch" : peer;

    private static string Number(double? value, string format) => value is { } number && double.IsFinite(number) ? number.ToString(format, CultureInfo.InvariantCulture) : "";
}
