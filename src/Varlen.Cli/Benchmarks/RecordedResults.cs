using System.Text.Json;

namespace Varlen.Cli.Benchmarks;

/// <summary>A file of benchmarks/results with other programs' figures: whose, from where and when, as its first line says.</summary>
/// <param name="Who">Whose they are.</param>
/// <param name="Machine">What they ran on.</param>
/// <param name="Date">When.</param>
/// <param name="Rows">Objects with the keys of bench step.</param>
internal sealed record RecordedResults(string Who, string Machine, string Date, IReadOnlyList<JsonElement> Rows)
{
    private const string Folder = "benchmarks/results";
    // Those of the reference decoder and of GPT-2 at the blog post's sizes; other sizes have none.
    private static readonly string[] Files = ["pytorch-h200.jsonl", "blog-h100.jsonl"];

    /// <summary>What was recorded of a workload's model; empty for other sizes and outside of a checkout.</summary>
    public static IReadOnlyList<RecordedResults> Of(StepWorkload workload)
    {
        string model = workload.Model.ToString().ToLowerInvariant();
        if (workload.Model == StepModel.Decoder || (workload.Layers, workload.Width, workload.Heads, workload.Vocabulary, workload.Context) != (24, 1024, 16, 1024, 1024)) return [];
        return [.. Files.Select(file => Checkout.Find($"{Folder}/{file}")).OfType<string>().Select(Read).Select(results => results with { Rows = [.. results.Rows.Where(row => row.GetProperty("model").GetString() == model)] }).Where(results => results.Rows.Count > 0)];
    }

    private static RecordedResults Read(string path)
    {
        JsonElement[] lines = [.. File.ReadLines(path).Select(line => JsonSerializer.Deserialize<JsonElement>(line))];
        string Text(string key) => lines[0].GetProperty(key).GetString()!;
        return new(Text("recorded"), Text("machine"), Text("date"), lines[1..]);
    }
}
