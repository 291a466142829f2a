using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Varlen.Cli.Terminal;
using Varlen.Cli.Training;
using Varlen.Training;

namespace Varlen.Cli.Reports;

/// <summary>A run's page: report.html, made from the files of its folder alone.</summary>
internal static class TrainingReport
{
    /// <summary>Writes the page; the file is replaced whole.</summary>
    public static void Write(RunFolder folder)
    {
        string temporary = folder.Report + ".tmp";
        File.WriteAllText(temporary, Page(folder));
        File.Move(temporary, folder.Report, overwrite: true);
    }

    private static string Page(RunFolder folder)
    {
        RunConfig config = RunConfig.Load(folder.Config);
        JsonNode data = RunEnvironment.Read(folder.Data);
        JsonNode start = RunEnvironment.Read(folder.Environment).AsArray()[^1]!;
        List<JsonElement> steps = [.. File.ReadLines(folder.Metrics).Select(line => JsonSerializer.Deserialize<JsonElement>(line))];
        JsonElement[] evaluations = [.. steps.Where(step => step.TryGetProperty("val_loss", out _))];
        var page = new HtmlPage($"Training run {Path.GetFileName(Path.GetFullPath(folder.Path))}");

        page.Section("Result", HtmlPage.Facts(Facts(config, steps, evaluations)), wide: true);
        page.Section("Loss, nats a token", SvgChart.Lines("step", [Points("training", steps, "loss"), Points("validation", evaluations, "val_loss") with { Marked = true }]));
        page.Section("Learning rate", SvgChart.Lines("step", [Points("learning rate", steps, "lr")], fromZero: true));
        page.Section("Gradient norm before clipping", SvgChart.Lines("step", [Points("norm", steps, "grad_norm")], fromZero: true));
        page.Section("Tokens a second", SvgChart.Lines("step", [Points("tokens a second", steps, "tok_s")], fromZero: true));
        page.Section("Lengths of documents, tokens", SvgChart.Bars("up to", [.. data["lengths"]!["buckets"]!.AsArray().Select(bucket => new Bar(Scale.Label((double)bucket!["up_to"]!), (double)bucket["count"]!))]));
        JsonNode packing = data["packing"]![0]!;
        page.Section("Tokens computed for one token of text",
            SvgChart.Bars("how the same sequences are batched", [new("packed", 1), new("padded to the longest", (double)packing["padded_to_longest"]!["tokens"]!), new("padded to the context", (double)packing["padded_to_maximum"]!["tokens"]!)]));
        page.Section("Where the tokens went", Ledger(data["ledger"]!), wide: true);
        if (File.Exists(folder.Samples)) page.Section("What the model wrote", HtmlPage.Preformatted(LastSamples(File.ReadAllText(folder.Samples))), wide: true);
        page.Section("Settings", HtmlPage.Preformatted(File.ReadAllText(folder.Config)));
        page.Section("Machine and command", HtmlPage.Preformatted(string.Join('\n', start.AsObject().Select(entry => $"{entry.Key}: {(entry.Value is JsonArray list ? string.Join(' ', list) : entry.Value)}"))));
        return page.ToString($"{Path.GetFullPath(folder.Path)} · {start["time"]} · Varlen {start["varlen"]}");
    }

    private static IEnumerable<(string, string)> Facts(RunConfig config, List<JsonElement> steps, JsonElement[] evaluations)
    {
        yield return ("steps", $"{steps.Count} of {config.Training.Steps}");
        if (steps.Count == 0) yield break;
        yield return ("tokens", Quantity.Short(Value(steps[^1], "tokens")));
        yield return ("time in steps", Quantity.Clock(Value(steps[^1], "seconds")));
        yield return ("tokens a second", Quantity.Short(Value(steps[^1], "tokens") / Value(steps[^1], "seconds")));
        double real = steps.Sum(step => Value(step, "batch_tokens")), padded = steps.Sum(step => Value(step, "padded_tokens"));
        yield return ("padding avoided", (1 - real / padded).ToString("P0", CultureInfo.InvariantCulture));
        int skipped = steps.Count(step => step.GetProperty("outcome").GetString() != "updated");
        if (skipped > 0) yield return ("skipped steps", skipped.ToString(CultureInfo.InvariantCulture));
        if (evaluations.Length == 0) yield break;
        JsonElement best = evaluations.MinBy(step => double.IsNaN(Value(step, "val_loss")) ? double.MaxValue : Value(step, "val_loss"));
        yield return ("best validation loss", Value(best, "val_loss").ToString("F4", CultureInfo.InvariantCulture));
        yield return ("bits a byte", (double.IsNaN(Value(best, "bits_per_byte")) ? "-" : Value(best, "bits_per_byte").ToString("F3", CultureInfo.InvariantCulture)));
    }

    private static string Ledger(JsonNode ledger) => HtmlPage.Table(["tokens", "inputs", "targets"],
        new[] { ("read", "read"), ("trained in an epoch", "trained"), ("held out", "held_out"), ("ends of documents", "ends"), ("only read", "ignored"), ("dropped", "dropped") }
            .Select(row => (IEnumerable<string>)[row.Item1, .. new[] { "inputs", "targets" }.Select(side => ((long)ledger[side]![row.Item2]!).ToString("N0", CultureInfo.InvariantCulture))]));

    private static string LastSamples(string samples)
    {
        string[] parts = samples.Split("--- step ", StringSplitOptions.RemoveEmptyEntries);
        return Printable.Text(string.Join("\n", parts.TakeLast(3).Reverse().Select(part => $"--- step {part.TrimEnd()}\n")), lines: true);
    }

    private static Series Points(string name, IEnumerable<JsonElement> steps, string key) => new(name, [.. steps.Select(step => (Value(step, "step"), Value(step, key)))]);

    private static double Value(JsonElement step, string key) => step.TryGetProperty(key, out JsonElement value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : double.NaN;
}
