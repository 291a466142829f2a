using System.Globalization;
using System.Net;
using System.Text.RegularExpressions;
using Xunit;

namespace Varlen.Cli.Tests.Reports;

/// <summary>What of a page is wider than its place: frames of several widths, each with a copy of the page, are measured by a script of the page around them.</summary>
internal static partial class PageMeasure
{
    /// <summary>Measures.</summary>
    /// <param name="folder">For files.</param>
    /// <param name="html">The page.</param>
    /// <param name="widths">Of the frames.</param>
    /// <returns>For each width the number of sections, and what sticks out.</returns>
    public static List<(int Width, int Sections, string Overflow)> Of(TemporaryFolder folder, string html, int[] widths)
    {
        // The report forbids scripts; the copy is of the same origin as the page that measures it.
        string copy = WebUtility.HtmlEncode(Policy().Replace(html, ""));
        string page = folder.Write($"{Path.GetRandomFileName()}.html", $$"""
            <!doctype html><meta charset="utf-8"><body>
            {{string.Concat(widths.Select(width => $"<iframe style=\"width:{width}px;height:3000px;border:0\" srcdoc=\"{copy}\"></iframe>"))}}
            <script>
            addEventListener("load", () => {
              const out = document.createElement("output");
              for (const frame of document.querySelectorAll("iframe")) {
                const page = frame.contentDocument, wide = [];
                for (const e of [page.documentElement, page.body, ...page.querySelectorAll("main,section,dl,table,pre,svg")])
                  if (e.scrollWidth > e.clientWidth + 1 && e.tagName !== "svg" || e.getBoundingClientRect().right > frame.clientWidth + 1) wide.push(`${e.tagName.toLowerCase()} ${e.scrollWidth}/${e.clientWidth}`);
                for (const t of page.querySelectorAll("svg text")) {
                  const a = t.getBoundingClientRect(), b = t.ownerSVGElement.getBoundingClientRect();
                  if (a.left < b.left - 1 || a.right > b.right + 1 || a.bottom > b.bottom + 1 || a.top < b.top - 1) wide.push(`text ${t.textContent}`);
                }
                out.textContent += `[${frame.clientWidth}:${page.querySelectorAll("section").length}:${wide.join()}]`;
              }
              document.body.replaceChildren(out);
            });
            </script>
            """);
        string dom = Chromium.Open(folder, page, "--dump-dom", "--window-size=1400,900");
        var measured = Measured().Matches(dom).Select(match => (int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture), int.Parse(match.Groups[2].Value, CultureInfo.InvariantCulture), match.Groups[3].Value)).ToList();
        Assert.True(widths.SequenceEqual(measured.Select(m => m.Item1)), dom[..Math.Min(dom.Length, 2000)]);
        return measured;
    }

    [GeneratedRegex("<meta http-equiv=\"Content-Security-Policy\"[^>]*>")]
    private static partial Regex Policy();

    [GeneratedRegex(@"\[(\d+):(\d+):([^\]]*)\]")]
    private static partial Regex Measured();
}
