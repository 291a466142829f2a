using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Varlen.Cli.Reports;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Benchmarks;

/// <summary>The report of bench step and bench gpt2: step times by strategy, speed against the distribution of lengths, memory, and all figures.</summary>
internal static class StepPage
{
    private static readonly Dictionary<BarStyle, string> Styles = new()
    {
        [BarStyle.Main] = "Varlen, without padding", [BarStyle.Other] = "Varlen, other strategies", [BarStyle.Peer] = "PyTorch in the same run", [BarStyle.Elsewhere] = "recorded on another machine",
    };

    /// <summary>Makes it.</summary>
    /// <param name="command">step or gpt2.</param>
    /// <param name="results">One for each distribution of lengths.</param>
    public static ReportDocument Create(string command, IReadOnlyList<StepResult> results)
    {
        StepWorkload workload = results[0].Workload;
        var sections = new List<ReportSection>();
        foreach (StepResult result in results)
            foreach (StepMode mode in result.Rows.Select(row => row.Mode).Distinct()) sections.Add(Times(result, mode, results.Count > 1));
        sections.Add(Lengths(results));
        sections.Add(Memory(results[0]));
        foreach (StepResult result in results) sections.Add(All(result, results.Count > 1));
        if (RecordedSection(workload) is { } recorded) sections.Add(recorded);
        return new(command == "gpt2" ? "Training GPT-2 on sequences that differ in length" : "Steps on sequences that differ in length", $"{string.Join(" · ", results.Select(result => StepReport.Describe(result.Workload)).Take(1))}{(results.Count > 1 ? $" · and {results.Count - 1} more distributions of lengths" : "")}")
        {
            Facts = [.. Facts(results[0])],
            Sections = sections,
            Circumstances = BenchmarkCircumstances.Of(workload.Device, results[0].LimitGflops),
            Rows = [.. results.SelectMany(result => StepReport.Objects(command, result))],
        };
    }

    private static IEnumerable<(string, string)> Facts(StepResult result)
    {
        foreach (StepMode mode in result.Rows.Select(row => row.Mode).Distinct())
        {
            if (result.Packed(mode) is not { } packed) continue;
            yield return ($"{Long(mode)}, {packed.Strategy}", $"{Milliseconds(packed.MedianMilliseconds)} ms");
            if (result.Find(mode, StepStrategy.Padded) is { } padded)
            {
                yield return ("faster than padded", $"{Number(padded.TimesAs(packed), "0.00")} ×");
                yield return ("of the ratio of counted work", Number(padded.TimesAs(packed) / padded.CountedTimesAs(packed), "P0"));
            }
            StepRow? peer = result.Peers.Where(row => row.Mode == mode).MinBy(row => row.MedianMilliseconds);
            if (peer is not null) yield return ("faster than PyTorch's best", $"{Number(1 / packed.TimesAs(peer), "0.00")} ×");
        }
    }

    private static ReportSection Times(StepResult result, StepMode mode, bool named)
    {
        StepRow? packed = result.Packed(mode);
        var bars = new List<ChartBar>();
        foreach (StepRow row in result.Rows.Where(row => row.Mode == mode))
            bars.Add(Bar(row, row.Strategy.Title, row.Strategy.IsPacked ? BarStyle.Main : BarStyle.Other) with { Expected = packed is null || row == packed ? null : packed.MedianMilliseconds * row.CountedTimesAs(packed) });
        foreach (StepRow row in result.Peers.Where(row => row.Mode == mode)) bars.Add(Bar(row, $"{StepReport.Short(row)}: {row.Strategy}", BarStyle.Peer));
        string what = $"{Long(mode)}, {(result.Workload.IsCausal(mode) ? "causal" : "full")} attention";
        return new(named ? $"{result.Workload.Lengths.Name}: {what}, ms a step" : $"{char.ToUpperInvariant(what[0])}{what[1..]}, ms a step")
        {
            ChartName = $"{StepReport.Name(mode)}{(named ? $"-{FileName(result)}" : "")}",
            Chart = BarChart.Draw($"{what}, milliseconds a step", bars, "expected from packed by counted work", Styles),
        };

        ChartBar Bar(StepRow row, string label, BarStyle style) => new(label, row.MedianMilliseconds,
            $"{Milliseconds(row.MedianMilliseconds)} ms{(packed is null || row == packed ? "" : $" · {Number(row.TimesAs(packed), "0.00")} ×")}", style, (Statistics.Quantile(row.Milliseconds, 0.25), Statistics.Quantile(row.Milliseconds, 0.75)));
    }

    // With one distribution the bars are the strategies' speeds; with several, how much padding costs on each.
    private static ReportSection Lengths(IReadOnlyList<StepResult> results)
    {
        var bars = new List<ChartBar>();
        if (results.Count == 1)
        {
            StepMode mode = results[0].Rows[^1].Mode;
            foreach (StepRow row in results[0].Rows.Concat(results[0].Peers).Where(row => row.Mode == mode)) bars.Add(Plain(row, row.TokensPerSecond, Number(row.TokensPerSecond, "#,0")));
            return new($"Real tokens a second in {Long(mode)}") { ChartName = "speed", Chart = BarChart.Draw("real tokens a second", bars, null, Styles) };
        }
        foreach (StepResult result in results)
            foreach (StepRow row in result.Rows.Where(row => !row.Strategy.IsPacked && result.Packed(row.Mode) is not null))
            {
                StepRow packed = result.Packed(row.Mode)!;
                bars.Add(new($"{result.Workload.Lengths.Name}, {StepReport.Name(row.Mode)}", row.TimesAs(packed), $"{row.Strategy} {Number(row.TimesAs(packed), "0.00")} ×", BarStyle.Other, Expected: row.CountedTimesAs(packed)));
            }
        return new("Time by distribution of lengths, packed = 1") { ChartName = "lengths", Chart = BarChart.Draw("times packed's time", bars, "expected by counted work", Styles) };
    }

    private static ReportSection Memory(StepResult result)
    {
        StepMode mode = result.Rows[^1].Mode;
        ChartBar[] bars = [.. result.Rows.Concat(result.Peers).Where(row => row.Mode == mode && row.PeakBytes > 0).Select(row => Plain(row, row.PeakBytes, Quantity.Bytes(row.PeakBytes)))];
        return new($"Peak memory in {Long(mode)}") { ChartName = "memory", Chart = BarChart.Draw("peak memory", bars, null, Styles), Notes = ["Weights, optimiser, batches and activations of one strategy."] };
    }

    private static ChartBar Plain(StepRow row, double value, string text) => row.Variant is null
        ? new(row.Strategy.Title, value, text, row.Strategy.IsPacked ? BarStyle.Main : BarStyle.Other)
        : new($"{StepReport.Short(row)}: {row.Strategy}", value, text, BarStyle.Peer);

    private static ReportSection All(StepResult result, bool named)
    {
        IReadOnlyList<string> headings = ["step", "ms", "middle half", "with batch, ms", "real tokens", "padded tokens", "tokens/s", "peak", "TFLOP/s", "of limit", "× packed", "counted", "of counted"];
        IEnumerable<IReadOnlyList<string>> rows = result.Rows.Concat(result.Peers).Select(row =>
        {
            StepRow? packed = result.Packed(row.Mode);
            return (IReadOnlyList<string>)
            [
                $"{StepReport.Name(row.Mode)} {row.Strategy}{(row.Variant is null ? "" : $" ({StepReport.Short(row)})")}", Milliseconds(row.MedianMilliseconds),
                $"{Milliseconds(Statistics.Quantile(row.Milliseconds, 0.25))} to {Milliseconds(Statistics.Quantile(row.Milliseconds, 0.75))}",
                row.UploadMilliseconds.Count == 0 ? "" : Milliseconds(Statistics.Median(row.UploadMilliseconds)), Number(row.RealTokens, "#,0"), Number(row.Rows - row.RealTokens, "#,0"), Number(row.TokensPerSecond, "#,0"),
                row.PeakBytes == 0 ? "" : Quantity.Bytes(row.PeakBytes), Number(row.Gflops * 1e-3, "0.###"), Number(row.Gflops / result.LimitGflops, "P0"),
                packed is null ? "" : Number(row.TimesAs(packed), "0.000"), packed is null ? "" : Number(row.CountedTimesAs(packed), "0.000"), packed is null ? "" : Number(row.TimesAs(packed) / row.CountedTimesAs(packed), "P1"),
            ];
        });
        var notes = new List<string>
        {
            $"Medians over the rounds, in each of which every row took a step; ratios are medians of the rounds' ratios. \"With batch\" makes the batch and sends it to the device too. Counted: 2 operations for each row and weight of a linear layer and 4 width for each score of a layer, in training three times the former and 3.5 times the latter. The limit is {Number(result.LimitGflops * 1e-3, "0.###")} TFLOP/s, measured between the rounds by a {DevicePeak.Name(result.Workload.Device)}.",
            result.LossesAgree ? "All strategies have the same loss." : "The strategies' losses differ: these figures compare different computations.",
        };
        notes.AddRange(result.Missing.Select(missing => $"Not run by the peer: {missing}."));
        return new(named ? $"All figures: {result.Workload.Lengths.Name}" : "All figures") { Table = (headings, [.. rows]), Notes = notes, IsWide = true };
    }

    private static ReportSection? RecordedSection(StepWorkload workload)
    {
        IReadOnlyList<RecordedResults> all = RecordedResults.Of(workload);
        if (all.Count == 0) return null;
        ChartBar[] bars = [.. all.SelectMany(results => results.Rows.Select(row => new ChartBar($"{row.GetProperty("mode").GetString()} {row.GetProperty("strategy").GetString()}, {row.GetProperty("variant").GetString()}",
            row.GetProperty("ms").GetDouble(), $"{results.Who} {Number(row.GetProperty("ms").GetDouble(), "0.#")} ms", BarStyle.Elsewhere)))];
        return new("Recorded elsewhere, ms a step")
        {
            ChartName = "recorded", Chart = BarChart.Draw("recorded elsewhere, milliseconds a step", bars, null, Styles),
            Notes = [.. all.Select(results => $"{results.Who}: {results.Machine}, {results.Date}. Not measured in this run, and comparable on that machine only.")],
        };
    }

    private static string Long(StepMode mode) => mode == StepMode.Train ? "training" : "evaluation";

    private static string FileName(StepResult result) => string.Concat(result.Workload.Lengths.Name.Select(c => char.IsAsciiLetterOrDigit(c) ? c : '-'));

    private static string Milliseconds(double value) => Number(value, value >= 100 ? "#,0" : value >= 10 ? "0.0" : "0.00");

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}

/// <summary>Machine, date and command of a report.</summary>
internal static class BenchmarkCircumstances
{
    /// <summary>Collects them.</summary>
    /// <param name="device">Where it ran.</param>
    /// <param name="limitGflops">Its measured limit.</param>
    public static IReadOnlyList<(string, string)> Of(Device device, double limitGflops) =>
    [
        ("device", MachineInfo.Describe(device)),
        ("processor", $"{MachineInfo.Processor()}, {Environment.ProcessorCount} processors"),
        ("limit", $"{(limitGflops * 1e-3).ToString("0.###", CultureInfo.InvariantCulture)} TFLOP/s by a {DevicePeak.Name(device)}"),
        ("system", $"{System.Runtime.InteropServices.RuntimeInformation.OSDescription.Trim()}, {System.Runtime.InteropServices.RuntimeInformation.FrameworkDescription}"),
        ("version", MachineInfo.Version),
        ("date", DateTime.UtcNow.ToString("yyyy-MM-dd HH:mm 'UTC'", CultureInfo.InvariantCulture)),
        ("command", $"varlen {string.Join(' ', Environment.GetCommandLineArgs().Skip(1).Select(Quoted))}"),
    ];

    private static string Quoted(string argument) => argument.Contains(' ', StringComparison.Ordinal) ? $"\"{argument}\"" : argument;
}
