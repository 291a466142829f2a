using System.Text.Json.Nodes;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Benchmarks;

/// <summary>Prints what <see cref="StepBenchmark"/> measured.</summary>
internal static class StepReport
{
    private const double Gibibyte = 1L << 30;

    /// <summary>A mode as --mode takes it.</summary>
    public static string Name(StepMode mode) => mode == StepMode.Train ? "train" : "eval";

    /// <summary>One object a row, then a summary.</summary>
    public static void WriteJson(StepWorkload workload, StepResult result)
    {
        foreach (StepRow row in result.Rows)
        {
            StepRow? packed = result.Find(row.Mode, StepStrategy.Packed);
            JsonOutput.Write(new JsonObject
            {
                ["mode"] = Name(row.Mode), ["strategy"] = row.Strategy.Name, ["peer"] = "varlen", ["device"] = workload.Device.ToString(), ["threads"] = Device.CpuThreads,
                ["ms"] = JsonOutput.Number(row.MedianMilliseconds), ["min_ms"] = JsonOutput.Number(row.Milliseconds.Min()),
                ["max_ms"] = JsonOutput.Number(row.Milliseconds.Max()), ["mean_ms"] = JsonOutput.Number(row.Milliseconds.Average()),
                ["real_tokens"] = row.RealTokens, ["rows"] = row.Rows, ["tok_per_s"] = JsonOutput.Number(row.TokensPerSecond, 1), ["peak_gib"] = JsonOutput.Number(row.PeakBytes / Gibibyte, 6),
                ["loss"] = JsonOutput.Number(row.Losses[0], 6), ["last_loss"] = JsonOutput.Number(row.Losses[^1], 6), ["gflops"] = JsonOutput.Number(row.Operations / row.MedianMilliseconds * 1e-6, 2),
                ["times_packed"] = packed is null ? null : JsonOutput.Number(row.TimesAs(packed)), ["counted_times_packed"] = packed is null ? null : JsonOutput.Number(row.CountedTimesAs(packed)),
                ["of_counted"] = packed is null ? null : JsonOutput.Number(row.TimesAs(packed) / row.CountedTimesAs(packed)),
                ["host_ms"] = row.Device is { } device ? JsonOutput.Number(device.HostMilliseconds) : null, ["launches"] = row.Device?.Launches,
            });
        }
        foreach (StepPeerRow row in result.Peers)
        {
            JsonOutput.Write(new JsonObject
            {
                ["mode"] = "train", ["strategy"] = row.Strategy.Name, ["peer"] = "pytorch", ["threads"] = Device.CpuThreads,
                ["ms"] = JsonOutput.Number(row.Milliseconds), ["min_ms"] = JsonOutput.Number(row.LeastMilliseconds), ["real_tokens"] = workload.Lengths.Tokens, ["rows"] = row.Strategy.Rows(workload),
                ["varlen_ratio"] = Optional(row.Ratio), ["varlen_packed_ratio"] = Optional(row.PackedRatio),
                ["settings"] = new JsonObject(StepPeer.Settings.Select(setting => KeyValuePair.Create(setting.Key, (JsonNode?)setting.Value))),
            });
        }
        JsonOutput.Write(new JsonObject
        {
            ["summary"] = "step", ["workload"] = workload.Lengths.Name, ["sequences"] = workload.Lengths.Lengths.Count, ["batches"] = workload.Lengths.Batches.Count, ["real_tokens"] = workload.Lengths.Tokens, ["context"] = workload.Context,
            ["layers"] = workload.Layers, ["width"] = workload.Width, ["heads"] = workload.Heads, ["vocabulary"] = workload.Vocabulary, ["optimizer"] = workload.Optimizer.ToString().ToLowerInvariant(), ["reference"] = workload.IsReference,
            ["dtype"] = workload.DType.ToString().ToLowerInvariant(), ["device"] = workload.Device.ToString(), ["threads"] = Device.CpuThreads, ["vector_bits"] = MachineInfo.VectorBits, ["seed"] = workload.Seed,
            ["losses_agree"] = Agree(workload, result),
        });

        static JsonNode? Optional(double? value) => value is { } number ? JsonOutput.Number(number) : null;
    }

    /// <summary>A table, then a summary.</summary>
    public static void Print(StepWorkload workload, StepResult result)
    {
        Console.Out.WriteLine(FormattableString.Invariant($"{workload.Lengths.Name}: {workload.Lengths.Tokens} tokens in {workload.Lengths.Lengths.Count} sequences{(workload.Lengths.Batches.Count > 1 ? $" of {workload.Lengths.Batches.Count} batches" : "")}, context {workload.Context}; {workload.Layers} blocks, width {workload.Width}, {workload.Heads} heads, vocabulary {workload.Vocabulary}, {workload.DType}, {(workload.Device == Device.Cpu ? $"{Device.CpuThreads} threads" : workload.Device)}"));
        var table = new Table(("step", 22), ("ms", 9), ("min..max", 17), ("rows", 7), ("tokens/s", 9), ("peak GiB", 8), ("loss", 8), ("x packed", 8), ("counted", 8));
        foreach (StepRow row in result.Rows)
        {
            StepRow? packed = result.Find(row.Mode, StepStrategy.Packed);
            table.Row($"{Name(row.Mode)} {row.Strategy}", $"{row.MedianMilliseconds:F2}", $"{row.Milliseconds.Min():F2}..{row.Milliseconds.Max():F2}", $"{row.Rows}", $"{row.TokensPerSecond:F0}", $"{row.PeakBytes / Gibibyte:F3}",
                $"{row.Losses[0]:F5}", packed is null ? "" : $"{row.TimesAs(packed):F3}", packed is null ? "" : $"{row.CountedTimesAs(packed):F3}");
        }
        foreach (StepRow row in result.Rows)
            if (row.Device is { } device) Console.Out.WriteLine(FormattableString.Invariant($"{Name(row.Mode)} {row.Strategy}: the host starts {device.Launches} kernels a step in {device.HostMilliseconds:F2} ms"));
        foreach (StepPeerRow row in result.Peers)
            Console.Out.WriteLine($"pytorch train {row.Strategy} {row.Milliseconds:F1} ms (least {row.LeastMilliseconds:F1}); varlen takes {Of(row.Ratio)} of it, packed {Of(row.PackedRatio)} ({string.Join(' ', StepPeer.Settings.Select(setting => $"{setting.Key}={setting.Value}"))})");
        foreach (IGrouping<StepMode, StepRow> rows in result.Rows.GroupBy(row => row.Mode))
            if (result.Find(rows.Key, StepStrategy.Packed) is { } packed && result.Find(rows.Key, StepStrategy.Padded) is { } padded)
                Console.Out.WriteLine($"{Name(rows.Key)}: packed is {padded.TimesAs(packed):F3} times as fast as padded, {padded.TimesAs(packed) / padded.CountedTimesAs(packed):P1} of what counted work predicts");
        Console.Out.WriteLine(Agree(workload, result) ? "all strategies have the same loss" : "the strategies' losses differ");

        static string Of(double? ratio) => ratio is { } number ? $"{number:F3}" : "-";
    }

    private static bool Agree(StepWorkload workload, StepResult result)
        => result.Rows.GroupBy(row => row.Mode).All(rows => rows.All(row => row.FirstDisagreement(rows.First(), workload.LossTolerance) is null));
}
