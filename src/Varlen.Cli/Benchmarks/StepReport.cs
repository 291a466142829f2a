using System.Text.Json.Nodes;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Benchmarks;

/// <summary>Prints what <see cref="StepBenchmark"/> measured.</summary>
internal static class StepReport
{
    private const double Gibibyte = 1L << 30;

    /// <summary>A mode as --mode takes it.</summary>
    public static string Name(StepMode mode) => mode == StepMode.Train ? "train" : "eval";

    /// <summary>The rows of a workload, Varlen's first, and then its summary: the objects of --json.</summary>
    public static IEnumerable<JsonObject> Objects(string command, StepResult result)
        => [.. result.Rows.Select(row => Row(result, row)), .. result.Peers.Select(row => Peer(result, row)), Summary(command, result)];

    /// <summary>A table, then a summary.</summary>
    public static void Print(StepResult result)
    {
        Console.Out.WriteLine(Describe(result.Workload));
        var table = new Table(("step", 22), ("ms", 9), ("min..max", 17), ("with batch", 10), ("rows", 7), ("tokens/s", 9), ("peak GiB", 8), ("of limit", 8), ("loss", 8), ("x packed", 8), ("counted", 8));
        foreach (StepRow row in result.Rows.Concat(result.Peers))
        {
            StepRow? packed = result.Packed(row.Mode);
            string own = row.Variant is null ? "" : $" ({Short(row)})";
            table.Row($"{Name(row.Mode)} {row.Strategy}{own}", $"{row.MedianMilliseconds:F2}", $"{row.Milliseconds.Min():F2}..{row.Milliseconds.Max():F2}", row.UploadMilliseconds.Count == 0 ? "" : $"{Statistics.Median(row.UploadMilliseconds):F2}", $"{row.Rows}", $"{row.TokensPerSecond:F0}",
                row.PeakBytes == 0 ? "" : $"{row.PeakBytes / Gibibyte:F3}", $"{row.Gflops / result.LimitGflops:P1}", $"{row.Losses[0]:F5}", packed is null ? "" : $"{row.TimesAs(packed):F3}", packed is null ? "" : $"{row.CountedTimesAs(packed):F3}");
        }
        foreach (StepRow row in result.Rows)
            if (row.Device is { } device) Console.Out.WriteLine(FormattableString.Invariant($"{Name(row.Mode)} {row.Strategy}: the host starts {device.Launches} kernels a step in {device.HostMilliseconds:F2} ms"));
        foreach (string missing in result.Missing) Console.Out.WriteLine($"not run by the peer: {missing}");
        foreach (IGrouping<StepMode, StepRow> rows in result.Rows.GroupBy(row => row.Mode))
            if (result.Packed(rows.Key) is { } packed && result.Find(rows.Key, StepStrategy.Padded) is { } padded)
                Console.Out.WriteLine($"{Name(rows.Key)}: {packed.Strategy} is {padded.TimesAs(packed):F3} times as fast as padded, {padded.TimesAs(packed) / padded.CountedTimesAs(packed):P1} of what counted work predicts");
        Console.Out.WriteLine(result.LossesAgree ? "all strategies have the same loss" : "the strategies' losses differ");
    }

    /// <summary>Batch and model in a line.</summary>
    public static string Describe(StepWorkload workload)
    {
        string model = workload.Model switch { StepModel.Gpt2 => "GPT-2, ", StepModel.Reference => "reference decoder, ", _ => "" };
        return FormattableString.Invariant($"{workload.Lengths.Name}: {workload.Lengths.Tokens} tokens in {workload.Lengths.Lengths.Count} sequences{(workload.Lengths.Batches.Count > 1 ? $" of {workload.Lengths.Batches.Count} batches" : "")}, context {workload.Context}; {model}{workload.Layers} blocks, width {workload.Width}, {workload.Heads} heads, vocabulary {workload.Vocabulary}, {workload.DType}, {(workload.Device == Device.Cpu ? $"{Device.CpuThreads} threads" : workload.Device)}{(workload.Captures ? ", captured" : "")}");
    }

    /// <summary>A peer and how it ran, in a word or two.</summary>
    public static string Short(StepRow row) => row.Variant is null or "eager" ? row.Framework : $"{row.Framework}, {row.Variant}";

    private static JsonObject Row(StepResult result, StepRow row)
    {
        StepRow? packed = result.Packed(row.Mode);
        JsonObject values = Common(result, row);
        values["upload_ms"] = JsonOutput.Number(Statistics.Median(row.UploadMilliseconds));
        values["last_loss"] = JsonOutput.Number(row.Losses[^1], 6);
        values["times_packed"] = packed is null ? null : JsonOutput.Number(row.TimesAs(packed));
        values["counted_times_packed"] = packed is null ? null : JsonOutput.Number(row.CountedTimesAs(packed));
        values["of_counted"] = packed is null ? null : JsonOutput.Number(row.TimesAs(packed) / row.CountedTimesAs(packed));
        values["host_ms"] = row.Device is { } device ? JsonOutput.Number(device.HostMilliseconds) : null;
        values["launches"] = row.Device?.Launches;
        return values;
    }

    private static JsonObject Peer(StepResult result, StepRow row)
    {
        JsonObject values = Common(result, row);
        values["variant"] = row.Variant;
        values["varlen_ratio"] = Ratio(result.Find(row.Mode, row.Strategy));
        values["varlen_packed_ratio"] = Ratio(result.Packed(row.Mode));
        return values;

        JsonNode? Ratio(StepRow? own) => own is null ? null : JsonOutput.Number(own.TimesAs(row));
    }

    private static JsonObject Common(StepResult result, StepRow row) => new()
    {
        ["workload"] = result.Workload.Lengths.Name, ["mode"] = Name(row.Mode), ["strategy"] = row.Strategy.Name, ["peer"] = row.Framework, ["device"] = result.Workload.Device.ToString(), ["threads"] = Device.CpuThreads,
        ["ms"] = JsonOutput.Number(row.MedianMilliseconds), ["min_ms"] = JsonOutput.Number(row.Milliseconds.Min()), ["q1_ms"] = JsonOutput.Number(Statistics.Quantile(row.Milliseconds, 0.25)),
        ["q3_ms"] = JsonOutput.Number(Statistics.Quantile(row.Milliseconds, 0.75)), ["max_ms"] = JsonOutput.Number(row.Milliseconds.Max()), ["mean_ms"] = JsonOutput.Number(row.Milliseconds.Average()),
        ["real_tokens"] = row.RealTokens, ["padded_tokens"] = row.Rows - row.RealTokens, ["rows"] = row.Rows, ["tok_per_s"] = JsonOutput.Number(row.TokensPerSecond, 1),
        ["peak_gib"] = row.PeakBytes == 0 ? null : JsonOutput.Number(row.PeakBytes / Gibibyte, 6), ["loss"] = JsonOutput.Number(row.Losses[0], 6),
        ["gflops"] = JsonOutput.Number(row.Gflops, 2), ["of_limit"] = JsonOutput.Number(row.Gflops / result.LimitGflops),
    };

    private static JsonObject Summary(string command, StepResult result)
    {
        StepWorkload workload = result.Workload;
        return new()
        {
            ["summary"] = command, ["workload"] = workload.Lengths.Name, ["sequences"] = workload.Lengths.Lengths.Count, ["batches"] = workload.Lengths.Batches.Count, ["real_tokens"] = workload.Lengths.Tokens, ["context"] = workload.Context,
            ["model"] = workload.Model.ToString().ToLowerInvariant(), ["layers"] = workload.Layers, ["width"] = workload.Width, ["heads"] = workload.Heads, ["vocabulary"] = workload.Vocabulary, ["optimizer"] = workload.Optimizer.ToString().ToLowerInvariant(), ["capture"] = workload.Captures,
            ["dtype"] = workload.DType.ToString().ToLowerInvariant(), ["device"] = workload.Device.ToString(), ["threads"] = Device.CpuThreads, ["vector_bits"] = MachineInfo.VectorBits, ["seed"] = workload.Seed,
            ["limit_gflops"] = JsonOutput.Number(result.LimitGflops, 1), ["losses_agree"] = result.LossesAgree, ["missing"] = new JsonArray([.. result.Missing.Select(text => (JsonNode)text)]),
        };
    }
}
