using System.Globalization;
using System.Net;
using System.Text;

namespace Varlen.Cli.Reports;

/// <summary>How a bar looks.</summary>
internal enum BarStyle
{
    /// <summary>What the chart is about.</summary>
    Main,
    /// <summary>What it is compared with, by the same program.</summary>
    Other,
    /// <summary>Another program, in the same run.</summary>
    Peer,
    /// <summary>Measured elsewhere.</summary>
    Elsewhere,
}

/// <summary>One bar with its name above it and its value at the end of the same line.</summary>
/// <param name="Label">Its name.</param>
/// <param name="Value">Its length, not negative.</param>
/// <param name="Text">The value as it is read.</param>
/// <param name="Style">How it looks.</param>
/// <param name="Spread">Where the middle half of the measurements lies, drawn as a thin line; none when null.</param>
/// <param name="Expected">Where the bar was expected to end, drawn as a tick; none when null.</param>
internal sealed record ChartBar(string Label, double Value, string Text, BarStyle Style, (double From, double To)? Spread = null, double? Expected = null);

/// <summary>
/// Horizontal bars from zero as an SVG element. The text of a bar is a line of its own, so that names of any length stand beside their
/// values on a phone; there is no axis, because each bar says what it is.
/// </summary>
internal static class BarChart
{
    // About as wide as a letter of the name and of the value gets, in bold.
    private const double NameLetter = 7.6, ValueLetter = 7.8;
    private const int Width = 360, RowHeight = 39, TextBase = 14, BarTop = 20, BarHeight = 9, KeyHeight = 20;

    /// <summary>Draws it.</summary>
    /// <param name="title">What the lengths are, for readers that do not see it.</param>
    /// <param name="bars">From top to bottom.</param>
    /// <param name="expected">What a tick means; given when a bar has one.</param>
    /// <param name="styles">What each style means, of those that occur.</param>
    public static string Draw(string title, IReadOnlyList<ChartBar> bars, string? expected, IReadOnlyDictionary<BarStyle, string> styles)
    {
        if (bars.Count == 0) return """<p class="empty">nothing was recorded</p>""";
        double most = bars.Max(bar => Math.Max(bar.Value, Math.Max(bar.Spread?.To ?? 0, bar.Expected ?? 0)));
        if (!(most > 0 && double.IsFinite(most))) most = 1;
        List<(string Mark, string Text)> keys = [.. styles.Where(style => bars.Any(bar => bar.Style == style.Key)).OrderBy(style => style.Key).Select(style => ($"b{(int)style.Key}", style.Value))];
        if (keys.Count == 1) keys.Clear();
        if (bars.Any(bar => bar.Spread is not null)) keys.Add(("spread", "the middle half of the rounds"));
        if (expected is not null && bars.Any(bar => bar.Expected is not null)) keys.Add(("tick", expected));
        int height = bars.Count * RowHeight + (keys.Count > 0 ? 8 + keys.Count * KeyHeight : 0);
        string description = $"{title}: {string.Join("; ", bars.Select(bar => $"{bar.Label} {bar.Text}"))}";
        var svg = new StringBuilder(string.Create(CultureInfo.InvariantCulture, $"""<svg class="bars" viewBox="0 0 {Width} {height}" role="img" aria-label="{Encode(description)}">"""));
        bool stands = bars.Any(bar => bar.Style != BarStyle.Main);
        for (int i = 0; i < bars.Count; i++) Row(svg, bars[i], i * RowHeight, Width / most, stands && bars[i].Style == BarStyle.Main ? " strong" : "");
        for (int i = 0; i < keys.Count; i++) Key(svg, keys[i].Mark, keys[i].Text, bars.Count * RowHeight + 8 + i * KeyHeight);
        return svg.Append("</svg>").ToString();
    }

    private static void Row(StringBuilder svg, ChartBar bar, int top, double scale, string strong)
    {
        double X(double value) => Math.Clamp(value * scale, 0, Width);
        double room = Width - 10 - bar.Text.Length * ValueLetter;
        string squeezed = bar.Label.Length * NameLetter <= room ? "" : string.Create(CultureInfo.InvariantCulture, $" textLength=\"{room:0.#}\" lengthAdjust=\"spacingAndGlyphs\"");
        svg.Append(CultureInfo.InvariantCulture, $"""<text class="name{strong}" x="0" y="{top + TextBase}"{squeezed}>{Encode(bar.Label)}</text><text class="value{strong}" x="{Width}" y="{top + TextBase}" text-anchor="end">{Encode(bar.Text)}</text>""");
        svg.Append(CultureInfo.InvariantCulture, $"""<rect class="b{(int)bar.Style}" x="0.5" y="{top + BarTop}" width="{Math.Max(X(bar.Value) - 1, 1):0.#}" height="{BarHeight}" rx="1.5"/>""");
        if (bar.Spread is { } spread) svg.Append(CultureInfo.InvariantCulture, $"""<path class="spread" d="M{X(spread.From):0.#} {top + BarTop + BarHeight + 3.5}H{X(spread.To):0.#}"/>""");
        if (bar.Expected is { } expected) svg.Append(CultureInfo.InvariantCulture, $"""<path class="tick" d="M{Math.Min(X(expected), Width - 1):0.#} {top + BarTop - 3}v{BarHeight + 6}"/>""");
    }

    private static void Key(StringBuilder svg, string mark, string text, int top)
    {
        svg.Append(mark switch
        {
            "spread" => string.Create(CultureInfo.InvariantCulture, $"""<path class="spread" d="M0 {top + 9}h16"/>"""),
            "tick" => string.Create(CultureInfo.InvariantCulture, $"""<path class="tick" d="M8 {top + 2}v14"/>"""),
            _ => string.Create(CultureInfo.InvariantCulture, $"""<rect class="{mark}" x="0.5" y="{top + 4.5}" width="15" height="9" rx="1.5"/>"""),
        });
        svg.Append(CultureInfo.InvariantCulture, $"""<text class="say" x="24" y="{top + 13}">{Encode(text)}</text>""");
    }

    private static string Encode(string text) => WebUtility.HtmlEncode(text);
}
