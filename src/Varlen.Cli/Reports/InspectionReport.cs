using System.Globalization;
using System.Net;
using Varlen.Cli.Inspection;
using Varlen.Cli.Terminal;
using Varlen.Data;

namespace Varlen.Cli.Reports;

/// <summary>The page of inspect: lengths, fill, and the cost of padding, as charts with the figures below them.</summary>
internal static class InspectionReport
{
    /// <summary>Writes the page; the file is replaced whole.</summary>
    public static void Write(string path, DataInspection inspection) => OutputFile.Write(path, () =>
    {
        string temporary = $"{Path.GetFullPath(path)}.tmp";
        File.WriteAllText(temporary, Page(inspection));
        File.Move(temporary, path, overwrite: true);
    });

    private static string Page(DataInspection inspection)
    {
        LengthHistogram lengths = inspection.Corpus.Lengths;
        BatchingCost packed = inspection.Packed.Cost;
        var page = new HtmlPage("What padding would cost");
        page.Section("The data", HtmlPage.Facts(Facts(inspection)), wide: true);
        page.Section("Lengths of documents, tokens", Bars("Documents by length", "up to", lengths.Buckets.SkipWhile(bucket => bucket.Count == 0).Select(bucket => new Bar(Scale.Label(bucket.UpTo), bucket.Count))));
        page.Section("How full batches are, by token budget", Described("Share of the token budget that best-fit batches use", string.Join("; ", inspection.Budget.Tried.Select(one => $"{one.BatchTokens} tokens: {Percent(one.Fill)}")),
            SvgChart.Bars("tokens of a batch; % full", [.. inspection.Budget.Tried.Select(one => new Bar(Scale.Label(one.BatchTokens), Math.Round(one.Fill * 100, 1)))])));
        page.Section("Tokens computed for one token of text", Ways("Tokens computed for one token of text", inspection, cost => (double)cost.Tokens / packed.Tokens));
        page.Section("Attention scores, times those of packed batches", Ways("Attention scores, times those of packed batches", inspection, cost => cost.Scores / packed.Scores));
        page.Section("Operations of training, times those of packed batches", Ways("Operations of training, times those of packed batches", inspection, cost => inspection.Work.Total(cost) / inspection.Work.Total(packed)));
        page.Section("Recommended", HtmlPage.Facts(("--batch-tokens", inspection.Budget.BatchTokens.ToString(CultureInfo.InvariantCulture))) + $"<p>{WebUtility.HtmlEncode(inspection.Budget.Why)}</p>");
        page.Section("Figures of an epoch", HtmlPage.Table(["way", "batches", "full", "tokens", "scores", "linear", "attention"], inspection.Ways.Select((way, i) => (IEnumerable<string>)
        [
            $"{(char)('A' + i)} {way.Name}", way.Cost.Batches.ToString("N0", CultureInfo.InvariantCulture), Percent(way.Cost.Fill), Quantity.Short(way.Cost.Tokens), Quantity.Short(way.Cost.Scores),
            Quantity.Short(inspection.Work.Linear(way.Cost)), Quantity.Short(inspection.Work.Attention(way.Cost)),
        ])) + $"<p>Linear and attention: operations of training a GPT-2 of {inspection.Work.Layers} layers, width {inspection.Work.Width} and {inspection.Work.VocabularySize} ids. Scores: pairs of tokens of causal attention, in one layer.</p>", wide: true);
        return page.ToString($"sequences of at most {inspection.Plan.Context} tokens, batches of at most {inspection.BatchTokens} · Varlen {MachineInfo.Version.Split('+')[0]}");
    }

    private static IEnumerable<(string, string)> Facts(DataInspection inspection)
    {
        (CorpusSummary corpus, LengthHistogram lengths) = (inspection.Corpus, inspection.Corpus.Lengths);
        foreach ((string name, long value) in new[]
        {
            ("files", corpus.Files.Count), ("documents", corpus.Documents), ("tokens", corpus.Tokens), ("shortest", lengths.Shortest), ("median", lengths.Median), ("90 % up to", lengths.Percentile90), ("99 % up to", lengths.Percentile99), ("longest", lengths.Longest),
        }) yield return (name, value.ToString("N0", CultureInfo.InvariantCulture));
        yield return ("mean", lengths.Mean.ToString("N1", CultureInfo.InvariantCulture));
    }

    // Letters below the bars, whose names would not stand side by side; the table and each bar's title say what they are.
    private static string Ways(string title, DataInspection inspection, Func<BatchingCost, double> times)
    {
        string[] names = [.. inspection.Ways.Select(way => $"{way.Name} {times(way.Cost).ToString("F2", CultureInfo.InvariantCulture)}")];
        string svg = SvgChart.Bars("way to batch", [.. inspection.Ways.Select((way, i) => new Bar(((char)('A' + i)).ToString(), times(way.Cost)))]);
        return Described(title, string.Join("; ", names), svg) + $"<p class=\"legend\">{string.Join(" · ", names.Select((name, i) => $"{(char)('A' + i)} {WebUtility.HtmlEncode(name)}"))}</p>";
    }

    private static string Bars(string title, string xTitle, IEnumerable<Bar> bars)
    {
        Bar[] all = [.. bars];
        return Described(title, string.Join("; ", all.Select(bar => $"{xTitle} {bar.Label}: {bar.Value}")), SvgChart.Bars(xTitle, all));
    }

    // What a reader that does not see the chart is told.
    private static string Described(string title, string description, string svg)
    {
        int end = svg.StartsWith("<svg", StringComparison.Ordinal) ? svg.IndexOf('>', StringComparison.Ordinal) + 1 : 0;
        return end == 0 ? svg : $"{svg[..end]}<title>{WebUtility.HtmlEncode(title)}</title><desc>{WebUtility.HtmlEncode(description)}</desc>{svg[end..]}";
    }

    private static string Percent(double share) => share.ToString("P1", CultureInfo.InvariantCulture);
}
