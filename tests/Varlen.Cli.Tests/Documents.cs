using System.Text.RegularExpressions;
using Varlen.Models;
using Varlen.Text;

namespace Varlen.Cli.Tests;

/// <summary>A fenced block of a document.</summary>
/// <param name="Place">File and line, for messages.</param>
/// <param name="Language">What stands behind the fence.</param>
/// <param name="Lines">Its lines.</param>
internal sealed record DocumentBlock(string Place, string Language, string[] Lines)
{
    /// <summary>The lines without indentation and empty ones: two texts of code are compared in this form.</summary>
    public static string Normalize(IEnumerable<string> lines) => $"\n{string.Join('\n', lines.Select(line => line.Trim()).Where(line => line.Length > 0))}\n";
}

/// <summary>The documents of the repository.</summary>
internal static partial class Documents
{
    /// <summary>The repository's root.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>README.md and all pages of docs, relative to the root.</summary>
    public static IEnumerable<string> Names => ["README.md", .. Directory.GetFiles(Path.Combine(Root, "docs"), "*.md").Order(StringComparer.Ordinal).Select(path => $"docs/{Path.GetFileName(path)}")];

    /// <summary>The text of a document.</summary>
    public static string Read(string name) => File.ReadAllText(Path.Combine(Root, name));

    /// <summary>The fenced blocks of a document.</summary>
    public static IEnumerable<DocumentBlock> Blocks(string name)
    {
        string[] lines = Read(name).ReplaceLineEndings("\n").Split('\n');
        for (int i = 0; i < lines.Length; i++)
        {
            if (!lines[i].TrimStart().StartsWith("```", StringComparison.Ordinal)) continue;
            int start = i + 1, end = Array.FindIndex(lines, start, line => line.Trim() == "```");
            yield return new DocumentBlock($"{name}:{start}", lines[i].Trim()[3..], end < 0 ? throw new InvalidDataException($"{name}:{start}: the block is not closed") : lines[start..end]);
            i = end;
        }
    }

    /// <summary>The words of a command without its comment; double quotes keep a word together.</summary>
    public static string[] Words(string command) => [.. Word().Matches(Comment().Replace(command, "")).Select(match => match.Groups[1].Success ? match.Groups[1].Value : match.Value)];

    /// <summary>A working folder with everything that the documents' commands name: texts, chat.jsonl, pairs.jsonl, lengths.txt, batch.safetensors, gpt2, README.md and docs.</summary>
    public static TemporaryFolder Workplace()
    {
        var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder.File("texts/more"));
        Directory.CreateDirectory(folder.File("docs"));
        for (int i = 0; i < 6; i++) folder.Write($"texts/{i}.txt", string.Concat(Enumerable.Repeat($"once upon a time there were {i} words. ", 2 * i + 4)));
        folder.Write("texts/more/notes.md", "# Notes\n\na heading, and a line\n");
        folder.Write("chat.jsonl", string.Concat(Enumerable.Range(0, 30).Select(i => $"{{\"text\":\"message {i}: {new string('a', i)}\"}}\n")));
        folder.Write("pairs.jsonl", string.Concat(Enumerable.Range(0, 30).Select(i => $"{{\"prompt\":\"{i}: \",\"completion\":\"{new string('a', i)}\"}}\n")));
        folder.Write("lengths.txt", "5\n3\n70\n");
        foreach (string name in Names) File.Copy(Path.Combine(Root, name), folder.File(name));
        AttentionFiles.AttentionFile.Random([5, 0, 3], [5, 2, 3], heads: 4, keyHeads: 2, features: 16, DType.Float32).Write(folder, "batch.safetensors");
        using var model = new Gpt2Model(Gpt2Config.Tiny with { Layers = 1, Width = 32 }, seed: 1);
        model.SavePretrained(folder.File("gpt2"));
        new ByteTokenizer().Save(folder.File("gpt2/tokenizer.json"));
        return folder;
    }

    private static string FindRoot()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "Varlen.slnx"))) folder = Path.GetDirectoryName(folder);
        return folder ?? throw new DirectoryNotFoundException($"{AppContext.BaseDirectory} is not below a checkout of the repository");
    }

    [GeneratedRegex("\"([^\"]*)\"|[^\\s\"]+")]
    private static partial Regex Word();

    [GeneratedRegex("(^|\\s)#.*$")]
    private static partial Regex Comment();
}
