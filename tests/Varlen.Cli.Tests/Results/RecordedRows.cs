using System.Text.Json;

namespace Varlen.Cli.Tests.Results;

/// <summary>A step that was recorded: a row of a file of benchmarks/results.</summary>
internal sealed record RecordedStep(string Workload, string Mode, string Strategy, string Peer, string Variant, JsonElement Row)
{
    // What the older script called the strategies.
    private static readonly Dictionary<string, string> Renamed = new() { ["varlen"] = "packed", ["nested"] = "jagged", ["longest"] = "padded-longest" };

    /// <summary>Whether these are Varlen's.</summary>
    public bool IsOwn => Peer == "varlen";

    /// <summary>Median milliseconds.</summary>
    public double Milliseconds => this["ms"]!.Value;

    /// <summary>A number of the row; null when it has none.</summary>
    public double? this[string key] => Row.TryGetProperty(key, out JsonElement value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : null;

    /// <summary>The rows of a file without headers and summaries; none when it is not there.</summary>
    public static IReadOnlyList<RecordedStep> Read(string file, string? model = null)
        => [.. RecordedFile.Lines(file).Where(row => row.TryGetProperty("ms", out _) && (model is null || row.GetProperty("model").GetString() == model)).Select(From)];

    private static RecordedStep From(JsonElement row)
    {
        string Text(string key) => row.TryGetProperty(key, out JsonElement value) ? value.GetString() ?? "" : "";
        if (Text("strategy") is { Length: > 0 } strategy) return new(Text("workload"), Text("mode"), strategy, Text("peer"), Text("variant"), row);
        string[] parts = Text("mode").Split(':');
        return new("", parts[0], Renamed.GetValueOrDefault(parts[1], parts[1]), "PyTorch", parts[2], row);
    }
}

/// <summary>Files of benchmarks/results.</summary>
internal static class RecordedFile
{
    /// <summary>The objects of a file; none when it is not there.</summary>
    public static IReadOnlyList<JsonElement> Lines(string file)
    {
        string path = Path.Combine(Documents.Root, "benchmarks", "results", file);
        return File.Exists(path) ? [.. File.ReadLines(path).Where(line => line.StartsWith('{')).Select(line => JsonSerializer.Deserialize<JsonElement>(line))] : [];
    }
}
