using System.Text.RegularExpressions;
using Xunit;

namespace Varlen.Cli.Tests.Results;

/// <summary>
/// The tables and plots of docs/results.md, and tables of README.md, are those of the files in benchmarks/results. With the variable VARLEN_WRITE_RESULTS they are
/// written anew instead of being compared.
/// </summary>
public sealed partial class ResultsDocumentTests
{
    private const string Page = "docs/results.md", Plots = "docs/plots";
    private static readonly bool Writes = Environment.GetEnvironmentVariable("VARLEN_WRITE_RESULTS") is not null;

    [Fact]
    public void TablesAreThoseOfTheRecordedResults()
    {
        IReadOnlyDictionary<string, string> tables = ResultsDocument.Tables();
        var shown = new List<string>();
        foreach (string page in (string[])[Page, "README.md"])
        {
            string text = Documents.Read(page).ReplaceLineEndings("\n");
            shown.AddRange(Table().Matches(text).Select(match => match.Groups["name"].Value));
            string expected = Table().Replace(text, match => $"<!-- table {match.Groups["name"].Value} -->\n{tables[match.Groups["name"].Value]}<!-- end -->");
            if (Writes) File.WriteAllText(Path.Combine(Documents.Root, page), expected);
            else Assert.True(expected == text, $"{page} has other figures than benchmarks/results; run this test with VARLEN_WRITE_RESULTS=1, and read what changed");
        }
        Assert.Equal(tables.Keys.Order(StringComparer.Ordinal), shown.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void PlotsAreThoseOfTheRecordedResults()
    {
        foreach ((string name, string svg) in ResultsDocument.Plots())
        {
            string path = Path.Combine(Documents.Root, Plots, name);
            if (Writes) File.WriteAllText(path, svg);
            else Assert.True(File.Exists(path) && File.ReadAllText(path) == svg, $"{path} shows other figures than benchmarks/results; run this test with VARLEN_WRITE_RESULTS=1");
            Assert.Contains($"(plots/{name})", Documents.Read(Page), StringComparison.Ordinal);
        }
        Assert.Equal(ResultsDocument.Plots().Keys.Order(StringComparer.Ordinal), Directory.GetFiles(Path.Combine(Documents.Root, Plots)).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    [GeneratedRegex("<!-- table (?<name>[a-z0-9-]+) -->\n.*?<!-- end -->", RegexOptions.Singleline)]
    private static partial Regex Table();
}
