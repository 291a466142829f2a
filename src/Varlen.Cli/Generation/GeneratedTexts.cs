using System.Diagnostics;
using System.Text;
using System.Text.Json.Nodes;
using Varlen.Cli.Terminal;
using Varlen.Generation;

namespace Varlen.Cli.Generation;

/// <summary>
/// Prints what is generated: one text as it is written, several each when it has ended, in the order of their prompts; as JSON an object for
/// each as it ends.
/// </summary>
/// <param name="json">Whether to print JSON.</param>
/// <param name="isAlone">Whether there is one prompt only.</param>
internal sealed class GeneratedTexts(bool json, bool isAlone)
{
    private readonly List<Entry> _entries = [];
    private int _printed;

    /// <summary>Takes note of the next prompt.</summary>
    public void Begin(string prompt)
    {
        _entries.Add(new Entry(prompt));
        if (!json && isAlone) Console.Out.Write(prompt);
    }

    /// <summary>Takes a token.</summary>
    public void Add(GeneratedToken token)
    {
        Entry entry = _entries[token.Prompt];
        if (token.Id >= 0 && token.End != GenerationEnd.EndOfText) entry.Tokens++;
        entry.End = token.End;
        if (!json && isAlone) Write(token.Text!);
        else entry.Text.Append(token.Text);
        if (token.End == GenerationEnd.None) return;
        if (json) WriteJson(token.Prompt, entry);
        else if (isAlone) Console.Out.WriteLine();
        else
            for (; _printed < _entries.Count && _entries[_printed].End != GenerationEnd.None; _printed++)
            {
                Console.Out.Write(_entries[_printed].Prompt);
                Write(_entries[_printed].Text.ToString());
                Console.Out.WriteLine();
                _entries[_printed].Text.Clear();
            }
    }

    private static void Write(string text) => Console.Out.Write(Console.IsOutputRedirected ? text : Printable.Text(text, lines: true));

    private static void WriteJson(int index, Entry entry)
    {
        double seconds = Stopwatch.GetElapsedTime(entry.Start).TotalSeconds;
        JsonOutput.Write(new JsonObject
        {
            ["index"] = index, ["prompt"] = entry.Prompt, ["text"] = entry.Text.ToString(), ["tokens"] = entry.Tokens,
            ["end"] = entry.End switch { GenerationEnd.EndOfText => "end-of-text", GenerationEnd.Stop => "stop", _ => "length" }, ["tokens_per_second"] = JsonOutput.Number(entry.Tokens / seconds, 1),
        });
        entry.Text.Clear();
    }

    private sealed class Entry(string prompt)
    {
        public string Prompt { get; } = prompt;
        public StringBuilder Text { get; } = new();
        public long Start { get; } = Stopwatch.GetTimestamp();
        public int Tokens { get; set; }
        public GenerationEnd End { get; set; }
    }
}
