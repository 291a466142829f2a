using System.Text.RegularExpressions;
using Varlen.Cli.Tests.Training;
using Xunit;

namespace Varlen.Cli.Tests.Reports;

/// <summary>report.html as a browser shows it.</summary>
public sealed partial class ReportTests(StraightRun straight) : IClassFixture<StraightRun>, IDisposable
{
    private const int Sections = 11;
    // The series' colours of the style sheet.
    private static readonly (byte, byte, byte) BlueOnLight = (0x25, 0x63, 0xA8), BlueOnDark = (0x6E, 0xA8, 0xE8), LightPage = (0xFF, 0xFF, 0xFF), DarkPage = (0x14, 0x17, 0x1A);

    private readonly TemporaryFolder _folder = new();
    private readonly string _report = Path.Combine(straight.Folder, "report.html");

    [Fact]
    public void StandsAloneAndHoldsNoScript()
    {
        string html = File.ReadAllText(_report);
        Assert.DoesNotContain("<script", html, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("http", html.Replace("http-equiv", "", StringComparison.Ordinal), StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotMatch("(?i)(src|href|onload|@import|url\\()\\s*=", html);
        Assert.Contains("default-src 'none'", html, StringComparison.Ordinal);
        Assert.Equal(Sections, html.Split("<section").Length - 1);
        string[] paths = [.. LinePath().Matches(html).Select(match => match.Groups[1].Value)];
        Assert.Equal(5, paths.Length);
        Assert.Equal([40, 5, 40, 40, 40], paths.Select(path => path.Count(c => c is 'M' or 'L')));
        Assert.DoesNotContain("NaN", html, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1200, false)]
    [InlineData(1200, true)]
    [InlineData(600, false)]
    public void IsNotBlank(int width, bool dark)
    {
        Picture picture = Chromium.Screenshot(_folder, _report, width, dark);
        Assert.Equal(width, picture.Width);
        Dictionary<(byte, byte, byte), int> colours = picture.Colours();
        Assert.Equal(dark ? DarkPage : LightPage, picture[2, 2]);
        Assert.True(colours.Count > 50, $"{colours.Count} colours");
        // Lines and bars are drawn, in the colour of the scheme and not in the other's.
        Assert.True(colours.GetValueOrDefault(dark ? BlueOnDark : BlueOnLight) > 1000, "no blue bars");
        Assert.False(colours.ContainsKey(dark ? BlueOnLight : BlueOnDark), "the colours of the other scheme");
    }

    [Fact]
    public void IsPrinted()
    {
        string file = _folder.File("report.pdf");
        Chromium.Open(_folder, _report, "--no-pdf-header-footer", $"--print-to-pdf={file}");
        byte[] pdf = File.ReadAllBytes(file);
        Assert.True(pdf.AsSpan().StartsWith("%PDF-"u8));
        Assert.InRange(PdfPage().Count(System.Text.Encoding.Latin1.GetString(pdf)), 1, 8);
        Assert.True(pdf.Length > 20_000, $"{pdf.Length} bytes");
    }

    /// <summary>Frames of several widths, each with a copy of the page, are measured by a script of the page around them.</summary>
    [Fact]
    public void NothingIsWiderThanItsPlace()
    {
        int[] widths = [1200, 700, 400, 320];
        Assert.All(PageMeasure.Of(_folder, File.ReadAllText(_report), widths), measured => Assert.True(measured.Sections == Sections && measured.Overflow.Length == 0, measured.ToString()));
        // The measure itself: a wide box is found.
        string wide = File.ReadAllText(_report).Replace("</h2>", "</h2><div style=\"width:900px\">wide</div>", StringComparison.Ordinal);
        Assert.Contains("section", Assert.Single(PageMeasure.Of(_folder, wide, [400])).Overflow, StringComparison.Ordinal);
    }

    public void Dispose() => _folder.Dispose();

    [GeneratedRegex("""<path class="line s\d" d="([^"]*)"/>""")]
    private static partial Regex LinePath();

    [GeneratedRegex("/Type */Page[^s]")]
    private static partial Regex PdfPage();
}
