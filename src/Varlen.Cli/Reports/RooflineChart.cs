using System.Globalization;
using System.Net;
using System.Text;

namespace Varlen.Cli.Reports;

/// <summary>A kernel in a roofline.</summary>
/// <param name="Label">Its name.</param>
/// <param name="Intensity">Operations for each byte that must be moved.</param>
/// <param name="Gflops">Achieved, in 10^9 operations a second.</param>
/// <param name="Series">Which colour.</param>
internal sealed record RooflinePoint(string Label, double Intensity, double Gflops, int Series);

/// <summary>Rates of kernels below the two limits of a machine, both axes logarithmic: memory bandwidth times intensity, and the arithmetic peak.</summary>
internal static class RooflineChart
{
    private const int Width = 560, Height = 330, Left = 62, Right = 16, Top = 16, Bottom = 42;

    /// <summary>Draws it.</summary>
    /// <param name="points">The kernels; numbered in this order.</param>
    /// <param name="bandwidth">Bytes a second, in 10^9.</param>
    /// <param name="peak">Operations a second, in 10^9.</param>
    public static string Draw(IReadOnlyList<RooflinePoint> points, double bandwidth, double peak)
    {
        RooflinePoint[] shown = [.. points.Where(point => point.Intensity > 0 && point.Gflops > 0)];
        if (shown.Length == 0 || !(bandwidth > 0 && peak > 0)) return """<p class="empty">nothing was recorded</p>""";
        double ridge = peak / bandwidth;
        (double fromX, double toX) = (Below(Math.Min(shown.Min(point => point.Intensity), ridge)), Above(Math.Max(shown.Max(point => point.Intensity), ridge)));
        (double fromY, double toY) = (Below(Math.Min(shown.Min(point => point.Gflops), peak)), Above(peak));
        double X(double value) => Left + (Math.Log10(value) - fromX) / (toX - fromX) * (Width - Left - Right);
        double Y(double value) => Height - Bottom - (Math.Log10(value) - fromY) / (toY - fromY) * (Height - Bottom - Top);

        string description = $"achieved rates below {Scale.Label(bandwidth)} GB/s and {Scale.Label(peak)} GFLOP/s: {string.Join("; ", shown.Select(point => string.Create(CultureInfo.InvariantCulture, $"{point.Label} {point.Gflops:0.#} GFLOP/s")))}";
        var svg = new StringBuilder($"""<svg viewBox="0 0 {Width} {Height}" role="img" aria-label="{WebUtility.HtmlEncode(description)}">""");
        for (int power = (int)fromX; power <= toX; power++)
        {
            Line(svg, "grid", X(Math.Pow(10, power)), Top, X(Math.Pow(10, power)), Height - Bottom);
            Text(svg, X(Math.Pow(10, power)), Height - Bottom + 16, "middle", Scale.Label(Math.Pow(10, power)));
        }
        for (int power = (int)fromY; power <= toY; power++)
        {
            Line(svg, "grid", Left, Y(Math.Pow(10, power)), Width - Right, Y(Math.Pow(10, power)));
            Text(svg, Left - 6, Y(Math.Pow(10, power)) + 4, "end", Scale.Label(Math.Pow(10, power)));
        }
        Text(svg, (Left + Width - Right) / 2.0, Height - 5, "middle", "operations for each byte moved");
        double edge = Math.Pow(10, fromX), start = Math.Max(edge, Math.Pow(10, fromY) / bandwidth);
        svg.Append(CultureInfo.InvariantCulture, $"""<path class="roof" d="M{X(start):0.#} {Y(start * bandwidth):0.#}L{X(ridge):0.#} {Y(peak):0.#}H{Width - Right}"/>""");
        Text(svg, Width - Right - 2, Y(peak) - 5, "end", $"peak {Scale.Label(Math.Round(peak, 1))} GFLOP/s");
        Text(svg, X(start) + 8, Y(start * bandwidth) - 4, "start", $"copy {Scale.Label(Math.Round(bandwidth, 1))} GB/s");
        for (int i = 0; i < shown.Length; i++)
        {
            RooflinePoint point = shown[i];
            svg.Append(CultureInfo.InvariantCulture, $"""<circle class="dot s{point.Series}" cx="{X(point.Intensity):0.#}" cy="{Y(point.Gflops):0.#}" r="4"><title>{WebUtility.HtmlEncode(point.Label)}: {point.Gflops:0.#} GFLOP/s</title></circle>""");
        }
        return svg.Append("</svg>").ToString();

        static double Below(double value) => Math.Floor(Math.Log10(value) - 1e-9);
        static double Above(double value) => Math.Ceiling(Math.Log10(value) + 1e-9);
    }

    private static void Line(StringBuilder svg, string kind, double x1, double y1, double x2, double y2)
        => svg.Append(CultureInfo.InvariantCulture, $"""<line class="{kind}" x1="{x1:0.#}" x2="{x2:0.#}" y1="{y1:0.#}" y2="{y2:0.#}"/>""");

    private static void Text(StringBuilder svg, double x, double y, string anchor, string text)
        => svg.Append(CultureInfo.InvariantCulture, $"""<text x="{x:0.#}" y="{y:0.#}" text-anchor="{anchor}">{WebUtility.HtmlEncode(text)}</text>""");
}
