using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Reports;

/// <summary>A part of a report.</summary>
/// <param name="Heading">Its heading.</param>
internal sealed record ReportSection(string Heading)
{
    /// <summary>Name of the chart's file, without an ending; given with <see cref="Chart"/>.</summary>
    public string? ChartName { get; init; }

    /// <summary>An SVG element.</summary>
    public string? Chart { get; init; }

    /// <summary>Headings and rows of a table; none when null.</summary>
    public (IReadOnlyList<string> Headings, IReadOnlyList<IReadOnlyList<string>> Rows)? Table { get; init; }

    /// <summary>Paragraphs of plain text.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>Whether it takes the page's whole width.</summary>
    public bool IsWide { get; init; }
}

/// <summary>A report before it has a form: as Markdown with charts beside it, as one page, as JSON and as rows of CSV.</summary>
/// <param name="Title">What was measured.</param>
/// <param name="Lead">On what, and when.</param>
internal sealed record ReportDocument(string Title, string Lead)
{
    /// <summary>Large figures.</summary>
    public IReadOnlyList<(string Name, string Value)> Facts { get; init; } = [];

    /// <summary>The parts in order.</summary>
    public IReadOnlyList<ReportSection> Sections { get; init; } = [];

    /// <summary>Machine, date, command.</summary>
    public IReadOnlyList<(string Name, string Value)> Circumstances { get; init; } = [];

    /// <summary>All that was measured, as --json prints it.</summary>
    public IReadOnlyList<JsonObject> Rows { get; init; } = [];

    /// <summary>report.md.</summary>
    public string ToMarkdown()
    {
        var text = new StringBuilder($"# {Title}\n\n{Lead}\n\n");
        if (Facts.Count > 0) Table(text, [.. Facts.Select(fact => fact.Name)], [[.. Facts.Select(fact => fact.Value)]]);
        foreach (ReportSection section in Sections)
        {
            text.Append(CultureInfo.InvariantCulture, $"## {section.Heading}\n\n");
            if (section.Chart is not null) text.Append(CultureInfo.InvariantCulture, $"![{section.Heading}]({section.ChartName}.svg)\n\n");
            if (section.Table is { } table) Table(text, table.Headings, table.Rows);
            foreach (string note in section.Notes) text.Append(CultureInfo.InvariantCulture, $"{note}\n\n");
        }
        text.Append("## Machine and command\n\n");
        Table(text, ["", ""], [.. Circumstances.Select(entry => (IReadOnlyList<string>)[entry.Name, entry.Value])]);
        return text.ToString().TrimEnd() + "\n";
    }

    /// <summary>report.html.</summary>
    public string ToHtml()
    {
        var page = new HtmlPage(Title);
        if (Facts.Count > 0) page.Section("Result", HtmlPage.Facts(Facts), wide: true);
        foreach (ReportSection section in Sections)
        {
            string table = section.Table is { } rows ? HtmlPage.Table(rows.Headings, rows.Rows, stacked: true) : "";
            page.Section(section.Heading, $"{section.Chart}{table}{string.Concat(section.Notes.Select(HtmlPage.Note))}", section.IsWide);
        }
        page.Section("Machine and command", HtmlPage.Preformatted(string.Join('\n', Circumstances.Select(entry => $"{entry.Name}: {entry.Value}"))), wide: true);
        return page.ToString(Lead);
    }

    /// <summary>report.json.</summary>
    public string ToJson() => new JsonObject
    {
        ["title"] = Title,
        ["circumstances"] = new JsonObject(Circumstances.Select(entry => KeyValuePair.Create(entry.Name, (JsonNode?)entry.Value))),
        ["rows"] = new JsonArray([.. Rows.Select(row => row.DeepClone())]),
    }.ToJsonString(new JsonSerializerOptions { WriteIndented = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }) + "\n";

    /// <summary>results.csv: the rows that are no summaries, with a column for each key.</summary>
    public string ToCsv()
    {
        JsonObject[] rows = [.. Rows.Where(row => !row.ContainsKey("summary"))];
        string[] keys = [.. rows.SelectMany(row => row).Select(entry => entry.Key).Distinct()];
        return string.Concat(rows.Select(row => keys.Select(key => Cell(row[key]))).Prepend(keys).Select(cells => string.Join(',', cells) + "\n"));
    }

    /// <summary>Writes all forms into a folder; each file is replaced whole.</summary>
    /// <exception cref="CommandException">The folder cannot be written (73).</exception>
    public void Write(string folder)
    {
        OutputFile.CreateFolder(folder);
        var files = new List<(string Name, string Text)> { ("report.md", ToMarkdown()), ("report.html", ToHtml()), ("report.json", ToJson()), ("results.csv", ToCsv()) };
        files.AddRange(Sections.Where(section => section.Chart?.StartsWith("<svg", StringComparison.Ordinal) == true).Select(section => ($"{section.ChartName}.svg", HtmlPage.StandAlone(section.Chart!))));
        foreach ((string name, string text) in files)
        {
            string path = Path.Combine(folder, name);
            OutputFile.RequireWritable(path);
            string temporary = path + ".tmp";
            File.WriteAllText(temporary, text);
            File.Move(temporary, path, overwrite: true);
        }
    }

    private static string Cell(JsonNode? value)
    {
        string text = value is JsonValue single && single.TryGetValue(out string? word) ? word : value?.ToJsonString() ?? "";
        return text.AsSpan().IndexOfAny(",\"\n") < 0 ? text : $"\"{text.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";
    }

    private static void Table(StringBuilder text, IReadOnlyList<string> headings, IReadOnlyList<IReadOnlyList<string>> rows)
    {
        Line(headings);
        text.Append('|').Append(string.Concat(headings.Select((_, column) => column == 0 ? "---|" : "---:|"))).Append('\n');
        foreach (IReadOnlyList<string> row in rows) Line(row);
        text.Append('\n');

        void Line(IReadOnlyList<string> cells) => text.Append("| ").Append(string.Join(" | ", cells.Select(cell => cell.Replace("|", "\\|", StringComparison.Ordinal)))).Append(" |\n");
    }
}
