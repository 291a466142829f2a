using System.Net;
using System.Text;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Reports;

/// <summary>A page that stands alone: its style is inside, it needs no script and fetches nothing. For screens light and dark, and for print.</summary>
internal sealed class HtmlPage(string title)
{
    // Charts that stand alone have these colours, and are as wide as their place.
    private const string Colours = """
        :root{color-scheme:light dark;--ink:#1b1f24;--soft:#5c6670;--page:#fff;--card:#f6f7f9;--rule:#d9dee3;--s0:#2563a8;--s1:#c4501b;--s2:#2b7a4b;--pale:#a9c3e0}
        @media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#9aa5b0;--page:#14171a;--card:#1d2125;--rule:#343a41;--s0:#6ea8e8;--s1:#f08a55;--s2:#6cc48f;--pale:#3d5878}}
        """;

    private const string Charts = """
        svg text{fill:var(--soft);font:11px system-ui,sans-serif;font-variant-numeric:tabular-nums}
        .bars .name,.bars .value{fill:var(--ink);font-size:13px}.bars .strong{font-weight:650}.bars .say{font-size:12px}
        .b0{fill:var(--s0)}.b1{fill:var(--pale)}.b2{fill:var(--s1)}.b3{fill:none;stroke:var(--s1);stroke-dasharray:3 2}
        .spread{fill:none;stroke:var(--soft);stroke-width:1.5}.tick{fill:none;stroke:var(--ink);stroke-width:2}
        .grid{stroke:var(--rule)}.roof{fill:none;stroke:var(--ink);stroke-width:1.5}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.bar{fill:var(--s0)}
        .line.s0{stroke:var(--s0)}.line.s1{stroke:var(--s1)}.line.s2{stroke:var(--s2)}.dot.s0{fill:var(--s0)}.dot.s1{fill:var(--s1)}.dot.s2{fill:var(--s2)}
        """;

    private const string Style = Colours + """

        @media print{:root{--ink:#000;--soft:#444;--page:#fff;--card:#fff;--rule:#bbb;--s0:#2563a8;--s1:#c4501b;--s2:#2b7a4b;--pale:#a9c3e0}section{break-inside:avoid}*{print-color-adjust:exact}body{padding:0;max-width:none}main{grid-template-columns:1fr 1fr}}
        *{box-sizing:border-box}
        body{margin:0 auto;padding:1.5rem;max-width:76rem;background:var(--page);color:var(--ink);font:15px/1.45 system-ui,sans-serif;overflow-wrap:anywhere}
        h1{font-size:1.5rem;margin:0 0 .2rem}h2{font-size:1rem;margin:0 0 .5rem}.lead{color:var(--soft);margin:0 0 1.2rem}
        @media screen{main{grid-template-columns:repeat(auto-fit,minmax(min(100%,27rem),1fr))}}main{display:grid;gap:1rem;align-items:start}
        section{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:1rem;min-width:0}section.wide{grid-column:1/-1}
        .facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.8rem;margin:0}.facts div{min-width:0}
        .facts dt{color:var(--soft);font-size:.85rem}.facts dd{margin:0;font-size:1.25rem;font-variant-numeric:tabular-nums}
        svg{display:block;width:100%;height:auto}svg.bars{max-width:32rem}
        .legend{margin:0 0 .3rem;color:var(--soft);font-size:.85rem}.key{display:inline-block;width:1.1em;height:.22em;margin:0 .4em .25em .8em}
        .key.s0{background:var(--s0)}.key.s1{background:var(--s1)}.key.s2{background:var(--s2)}
        table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}td,th{text-align:right;padding:.25rem .5rem;border-bottom:1px solid var(--rule)}
        td:first-child,th:first-child{text-align:left}th{color:var(--soft);font-weight:500}tbody th{color:var(--ink);font-weight:400}
        pre{white-space:pre-wrap;margin:0;font:13px/1.5 ui-monospace,monospace;max-height:24rem;overflow:auto}.empty{color:var(--soft)}
        .note{color:var(--soft);font-size:.9rem;margin:.7rem 0 0;max-width:44rem}
        @media print{pre{max-height:none}.stack{font-size:8px}}
        @media(max-width:34rem){body{padding:1rem .75rem}section{padding:.8rem}svg:not(.bars) text{font-size:14px}}
        .stack{font-size:.82rem}.stack td{white-space:nowrap}.stack td,.stack th{padding:.25rem .35rem}
        @media screen and (max-width:72rem){.stack{font-size:inherit}.stack thead{position:absolute;clip-path:inset(50%);height:1px;width:1px;overflow:hidden}.stack tr{display:block;padding:.5rem 0;border-bottom:1px solid var(--rule)}
        .stack td,.stack th{display:flex;justify-content:space-between;gap:1rem;border:0;padding:.1rem 0;text-align:right;white-space:normal}.stack th{color:var(--ink);font-weight:650}.stack td::before{content:attr(data-label);color:var(--soft);text-align:left}.stack td:empty{display:none}}

        """ + Charts;

    private readonly StringBuilder _body = new();

    /// <summary>Adds a box with a heading.</summary>
    /// <param name="heading">Plain text.</param>
    /// <param name="html">Its content.</param>
    /// <param name="wide">Whether it takes the whole width.</param>
    public void Section(string heading, string html, bool wide = false)
        => _body.Append($"<section{(wide ? " class=\"wide\"" : "")}><h2>{Encode(heading)}</h2>{html}</section>\n");

    /// <summary>Large figures with their names.</summary>
    public static string Facts(params IEnumerable<(string Name, string Value)> facts)
        => $"""<dl class="facts">{string.Concat(facts.Select(fact => $"<div><dt>{Encode(fact.Name)}</dt><dd>{Encode(fact.Value)}</dd></div>"))}</dl>""";

    /// <summary>A table of plain text.</summary>
    /// <param name="headings">Of the columns.</param>
    /// <param name="rows">The first cell names its row.</param>
    /// <param name="stacked">Whether a narrow page shows each row as a list; for many columns.</param>
    public static string Table(IEnumerable<string> headings, IEnumerable<IEnumerable<string>> rows, bool stacked = false)
    {
        string[] names = [.. headings.Select(Encode)];
        string body = string.Concat(rows.Select(row => $"<tr>{string.Concat(row.Select((cell, column) => column == 0 ? $"<th scope=\"row\">{Encode(cell)}</th>" : $"<td data-label=\"{names[column]}\">{Encode(cell)}</td>"))}</tr>"));
        return $"<table{(stacked ? " class=\"stack\"" : "")}><thead><tr>{string.Concat(names.Select(name => $"<th scope=\"col\">{name}</th>"))}</tr></thead><tbody>{body}</tbody></table>";
    }

    /// <summary>A paragraph below a chart or table.</summary>
    public static string Note(string text) => $"<p class=\"note\">{Encode(text)}</p>";

    /// <summary>A chart as a file of its own, in light and dark.</summary>
    /// <param name="svg">The element.</param>
    public static string StandAlone(string svg)
    {
        int end = svg.IndexOf('>', StringComparison.Ordinal);
        return $"{svg[..end].Replace("<svg", "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"520\"", StringComparison.Ordinal)}><style>{Colours}{Charts}</style>{svg[(end + 1)..]}\n";
    }

    /// <summary>Text as it is.</summary>
    public static string Preformatted(string text) => $"<pre>{Encode(text)}</pre>";

    /// <summary>The whole page.</summary>
    /// <param name="lead">A line below the title.</param>
    public string ToString(string lead) => $"""
        <!doctype html>
        <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
        <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
        <title>{Encode(title)}</title><style>{Style}</style></head>
        <body><h1>{Encode(title)}</h1><p class="lead">{Encode(lead)}</p><main>
        {_body}</main></body></html>

        """;

    private static string Encode(string text) => WebUtility.HtmlEncode(Printable.Text(text, lines: true));
}
