using System.Globalization;
using System.Net;
using System.Text;

namespace Varlen.Cli.Reports;

/// <summary>One line of a chart.</summary>
/// <param name="Name">What it shows.</param>
/// <param name="Points">Its points in order of x; those that are not finite interrupt it.</param>
/// <param name="Marked">Whether each point gets a dot: for few points.</param>
internal sealed record Series(string Name, IReadOnlyList<(double X, double Y)> Points, bool Marked = false);

/// <summary>One bar of a chart.</summary>
/// <param name="Label">Below it.</param>
/// <param name="Value">Its height, not negative.</param>
internal readonly record struct Bar(string Label, double Value);

/// <summary>Charts as SVG elements. Colours come from the page's style sheet, so that they follow light, dark and print.</summary>
internal static class SvgChart
{
    private const int Width = 560, Height = 260, Left = 56, Right = 14, Top = 14, Bottom = 38;
    // More points than pixels say nothing, and make a long run's page slow.
    private const int MostPoints = 600;

    /// <summary>Lines over a common x axis; a legend when there are several.</summary>
    /// <param name="xTitle">Title of the x axis.</param>
    /// <param name="series">The lines; those without a finite point are left out.</param>
    /// <param name="fromZero">Whether the y axis begins at 0.</param>
    public static string Lines(string xTitle, IEnumerable<Series> series, bool fromZero = false)
    {
        Series[] shown = [.. series.Select(Thin).Where(s => s.Points.Count > 0)];
        if (shown.Length == 0) return """<p class="empty">nothing was recorded</p>""";
        double[] xs = [.. shown.SelectMany(s => s.Points).Select(p => p.X)], ys = [.. shown.SelectMany(s => s.Points).Select(p => p.Y).Where(double.IsFinite)];
        if (ys.Length == 0) return """<p class="empty">no finite value was recorded</p>""";
        var x = new Scale(Math.Min(xs.Min(), xs.Max() - 1), xs.Max(), Left, Width - Right, 6);
        var y = new Scale(fromZero ? 0 : ys.Min(), ys.Max(), Height - Bottom, Top, 5);
        StringBuilder svg = Begin(xTitle, y);
        foreach (double tick in x.Ticks) Text(svg, x.At(tick), Height - Bottom + 16, "middle", Scale.Label(tick));
        for (int i = 0; i < shown.Length; i++)
        {
            svg.Append(CultureInfo.InvariantCulture, $"""<path class="line s{i}" d="{Path(shown[i].Points, x, y)}"/>""");
            if (!shown[i].Marked) continue;
            foreach ((double px, double py) in shown[i].Points.Where(p => double.IsFinite(p.Y)))
                svg.Append(CultureInfo.InvariantCulture, $"""<circle class="dot s{i}" cx="{x.At(px):0.#}" cy="{y.At(py):0.#}" r="3"/>""");
        }
        svg.Append("</svg>");
        if (shown.Length > 1) svg.Insert(0, $"""<p class="legend">{string.Concat(shown.Select((s, i) => $"""<span class="key s{i}"></span>{WebUtility.HtmlEncode(s.Name)} """))}</p>""");
        return svg.ToString();
    }

    /// <summary>Bars side by side from 0.</summary>
    /// <param name="xTitle">Title of the x axis.</param>
    /// <param name="bars">The bars, left to right.</param>
    public static string Bars(string xTitle, IReadOnlyList<Bar> bars)
    {
        if (bars.Count == 0) return """<p class="empty">nothing was recorded</p>""";
        var y = new Scale(0, Math.Max(bars.Max(bar => bar.Value), double.Epsilon), Height - Bottom, Top, 5);
        StringBuilder svg = Begin(xTitle, y);
        double step = (double)(Width - Left - Right) / bars.Count;
        int every = (int)Math.Ceiling(bars.Max(bar => bar.Label.Length) * 7 / step);
        for (int i = 0; i < bars.Count; i++)
        {
            double top = y.At(bars[i].Value), at = Left + i * step;
            svg.Append(CultureInfo.InvariantCulture, $"""<rect class="bar" x="{at + step * 0.1:0.#}" y="{top:0.#}" width="{step * 0.8:0.#}" height="{Height - Bottom - top:0.#}"><title>{WebUtility.HtmlEncode(bars[i].Label)}: {bars[i].Value:0.####}</title></rect>""");
            if (i % every == 0) Text(svg, at + step / 2, Height - Bottom + 16, "middle", bars[i].Label);
        }
        return svg.Append("</svg>").ToString();
    }

    private static StringBuilder Begin(string xTitle, Scale y)
    {
        var svg = new StringBuilder($"""<svg viewBox="0 0 {Width} {Height}" role="img">""");
        foreach (double tick in y.Ticks)
        {
            svg.Append(CultureInfo.InvariantCulture, $"""<line class="grid" x1="{Left}" x2="{Width - Right}" y1="{y.At(tick):0.#}" y2="{y.At(tick):0.#}"/>""");
            Text(svg, Left - 6, y.At(tick) + 4, "end", Scale.Label(tick));
        }
        Text(svg, (Left + Width - Right) / 2.0, Height - 4, "middle", xTitle);
        return svg;
    }

    private static void Text(StringBuilder svg, double x, double y, string anchor, string text)
        => svg.Append(CultureInfo.InvariantCulture, $"""<text x="{x:0.#}" y="{y:0.#}" text-anchor="{anchor}">{WebUtility.HtmlEncode(text)}</text>""");

    private static string Path(IReadOnlyList<(double X, double Y)> points, Scale x, Scale y)
    {
        var path = new StringBuilder();
        bool pen = false;
        foreach ((double px, double py) in points)
        {
            bool finite = double.IsFinite(py);
            if (finite) path.Append(CultureInfo.InvariantCulture, $"{(pen ? 'L' : 'M')}{x.At(px):0.#} {y.At(py):0.#}");
            pen = finite;
        }
        return path.ToString();
    }

    /// <summary>Means of equal groups of neighbours when there are too many points. A group that holds a value that is not finite shows it.</summary>
    private static Series Thin(Series series)
    {
        int group = (series.Points.Count + MostPoints - 1) / MostPoints;
        return group <= 1 ? series : series with { Points = [.. series.Points.Chunk(group).Select(part => (part[^1].X, part.Average(p => p.Y)))] };
    }
}
