using System.Text.Json;
using System.Text.RegularExpressions;
using Xunit;

namespace Varlen.Cli.Tests.Reports;

/// <summary>Two reports of benchmarks, made once.</summary>
public sealed class BenchmarkReports : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public BenchmarkReports()
    {
        string[] small = ["--layers", "1", "--width", "16", "--heads", "2", "--vocabulary", "13", "--rounds", "2", "--warmup", "0"];
        Run(["bench", "step", .. small, "--lengths", "uniform:1..40x6", "--strategy", "all", "--report", _folder.File("step")]);
        Run(["bench", "attention", "--lengths", "uniform:1..40x6", "--lengths", "lognormal:20,0.8..40x6", "--heads", "2", "--head-dim", "16", "--rounds", "1", "--report", _folder.File("attention")]);
    }

    public string this[string report, string file] => Path.Combine(_folder.Path, report, file);

    public void Dispose() => _folder.Dispose();

    private static void Run(string[] command)
    {
        CliResult result = Cli.Run(command);
        Assert.True(result.ExitCode == 0, result.Error);
    }
}

/// <summary>The reports of bench: every form of them, and the page as a browser shows it.</summary>
public sealed partial class BenchmarkReportTests(BenchmarkReports reports) : IClassFixture<BenchmarkReports>, IDisposable
{
    private static readonly (byte, byte, byte) BlueOnLight = (0x25, 0x63, 0xA8), BlueOnDark = (0x6E, 0xA8, 0xE8);
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("step", 17)]
    [InlineData("attention", 7)]
    public void EveryFormHoldsTheSameRows(string report, int rows)
    {
        JsonElement json = JsonDocument.Parse(File.ReadAllText(reports[report, "report.json"])).RootElement;
        Assert.Equal(rows, json.GetProperty("rows").GetArrayLength());
        Assert.StartsWith("varlen bench ", json.GetProperty("circumstances").GetProperty("command").GetString(), StringComparison.Ordinal);
        string[] csv = File.ReadAllLines(reports[report, "results.csv"]);
        // A row for each but the summary, and a heading.
        Assert.Equal(rows, csv.Length);
        JsonElement first = json.GetProperty("rows")[0];
        Assert.Equal(first.EnumerateObject().Select(property => property.Name), csv[0].Split(','));
        Assert.Contains(first.GetProperty("workload").GetString()!, csv[1], StringComparison.Ordinal);
        string markdown = File.ReadAllText(reports[report, "report.md"]);
        string[] pictures = [.. Picture().Matches(markdown).Select(match => match.Groups[1].Value)];
        Assert.True(pictures.Length >= 3, markdown);
        Assert.All(pictures, picture => Assert.Contains("<svg xmlns=", File.ReadAllText(reports[report, picture]), StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("step", 7)]
    [InlineData("attention", 5)]
    public void PageStandsAloneAndSaysWhatItShows(string report, int sections)
    {
        string html = File.ReadAllText(reports[report, "report.html"]);
        Assert.DoesNotContain("<script", html, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("NaN", html, StringComparison.Ordinal);
        Assert.DoesNotMatch("(?i)(src|href|onload|@import|url\\()\\s*=", html);
        Assert.Equal(sections, html.Split("<section").Length - 1);
        foreach (Match svg in Svg().Matches(html)) Assert.Matches("role=\"img\" aria-label=\"[^\"]{20,}\"", svg.Value);
        Assert.Contains("<th scope=\"row\">", html, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("step", 1200, false)]
    [InlineData("step", 390, true)]
    [InlineData("attention", 1200, true)]
    public void PageIsNotBlank(string report, int width, bool dark)
    {
        Picture picture = Chromium.Screenshot(_folder, reports[report, "report.html"], Math.Max(width, 500), dark);
        Dictionary<(byte, byte, byte), int> colours = picture.Colours();
        Assert.True(colours.GetValueOrDefault(dark ? BlueOnDark : BlueOnLight) > 300, "no bars");
        Assert.False(colours.ContainsKey(dark ? BlueOnLight : BlueOnDark), "the colours of the other scheme");
    }

    [Theory]
    [InlineData("step", 7)]
    [InlineData("attention", 5)]
    public void NothingIsWiderThanItsPlace(string report, int sections)
        => Assert.All(PageMeasure.Of(_folder, File.ReadAllText(reports[report, "report.html"]), [1200, 700, 390, 320]), measured => Assert.True(measured.Sections == sections && measured.Overflow.Length == 0, measured.ToString()));

    [Fact]
    public void PageIsPrinted()
    {
        string file = _folder.File("report.pdf");
        Chromium.Open(_folder, reports["step", "report.html"], "--no-pdf-header-footer", $"--print-to-pdf={file}");
        byte[] pdf = File.ReadAllBytes(file);
        Assert.True(pdf.AsSpan().StartsWith("%PDF-"u8));
        Assert.InRange(PdfPage().Count(System.Text.Encoding.Latin1.GetString(pdf)), 1, 6);
        Assert.True(pdf.Length > 15_000, $"{pdf.Length} bytes");
    }

    [GeneratedRegex("/Type */Page[^s]")]
    private static partial Regex PdfPage();

    [GeneratedRegex(@"!\[[^\]]*\]\(([^)]+)\)")]
    private static partial Regex Picture();

    [GeneratedRegex("<svg[^>]*>")]
    private static partial Regex Svg();
}
