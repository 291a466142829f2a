using System.Text.Json;
using System.Text.RegularExpressions;
using Xunit;

namespace Varlen.Cli.Tests;

/// <summary>
/// What the documents show is true. Blocks of commands (sh, bash, console) are run, in order, in a folder that holds what they name; C# is
/// part of a compiled file; JSON can be parsed; files exist. A command that is no varlen command says "(not run by the tests)" beside it.
/// Runs are shortened: 2 steps for training, 1 when it is to stop early, 1 round for bench, of a model of 1 block.
/// </summary>
public sealed partial class DocumentTests
{
    private const string Exemption = "(not run by the tests)";
    private static readonly string[] Shells = ["sh", "bash", "console"], Known = [.. Shells, "csharp", "json", "text"];

    // Everything that may hold the code of documents: the samples, and the methods of DocumentedCode.
    private static readonly Lazy<string[]> Compiled = new(() =>
        [.. Directory.GetFiles(Path.Combine(Documents.Root, "samples"), "Program.cs", SearchOption.AllDirectories).Append(Path.Combine(Documents.Root, "tests", "Varlen.Cli.Tests", "DocumentedCode.cs"))
            .Select(path => DocumentBlock.Normalize(File.ReadLines(path)))]);

    public static TheoryData<string> All => [.. Documents.Names];

    [Theory, MemberData(nameof(All))]
    public void CommandsRun(string document)
    {
        using TemporaryFolder folder = Documents.Workplace();
        foreach (DocumentBlock block in Documents.Blocks(document).Where(block => Shells.Contains(block.Language)))
            foreach (string line in block.Lines.Select(line => line.Trim()).Where(line => line.Length > 0 && line[0] != '#'))
            {
                string[] words = Documents.Words(line);
                if (words[0] is not ("./varlen" or "varlen"))
                {
                    Assert.True(line.EndsWith(Exemption, StringComparison.Ordinal), $"{block.Place}: '{line}' is no varlen command; test it, or end the line with '# ... {Exemption}'");
                    continue;
                }
                CliResult result = Cli.RunIn(folder.Path, Shortened(words[1..]));
                Assert.True(result.ExitCode == 0, $"{block.Place}: '{line}' ended with {result.ExitCode}\n{result.Error}");
            }
    }

    [Theory, MemberData(nameof(All))]
    public void CodeIsPartOfACompiledFile(string document)
    {
        foreach (DocumentBlock block in Documents.Blocks(document).Where(block => block.Language == "csharp"))
        {
            string code = DocumentBlock.Normalize(block.Lines);
            Assert.True(Compiled.Value.Any(text => text.Contains(code, StringComparison.Ordinal)), $"{block.Place}: the code is in no sample and not in DocumentedCode.cs");
        }
    }

    [Theory, MemberData(nameof(All))]
    public void BlocksSayWhatTheyAreAndJsonIsJson(string document)
    {
        foreach (DocumentBlock block in Documents.Blocks(document))
        {
            Assert.True(Known.Contains(block.Language), $"{block.Place}: '{block.Language}' is not one of {string.Join(", ", Known)}");
            if (block.Language != "json") continue;
            foreach (string line in block.Lines.Where(line => line.Length > 0)) JsonDocument.Parse(line).Dispose();
        }
    }

    [Theory, MemberData(nameof(All))]
    public void LinksAndPathsLeadSomewhere(string document)
    {
        string text = Documents.Read(document), folder = Path.GetDirectoryName(Path.Combine(Documents.Root, document))!;
        foreach (string target in Link().Matches(text).Select(match => match.Groups[1].Value).Where(target => !target.Contains("://", StringComparison.Ordinal)))
            Assert.True(Path.Exists(Path.Combine(folder, target)), $"{document} links to {target}");
        foreach (string path in RepositoryPath().Matches(text).Select(match => match.Groups[1].Value))
            Assert.True(Path.Exists(Path.Combine(Documents.Root, path)), $"{document} names {path}");
    }

    [Fact]
    public void TheMainDocumentsHaveCommandsAndCode()
    {
        foreach (string document in new[] { "README.md", "docs/training.md", "docs/coming-from-pytorch.md" })
        {
            Assert.Contains(Documents.Blocks(document), block => Shells.Contains(block.Language));
            Assert.Contains(Documents.Blocks(document), block => block.Language == "csharp");
        }
    }

    private static string[] Shortened(string[] words) => words switch
    {
        ["train", ..] when !words.Contains("--resume") => With(words.Contains("--stop-after") ? With(words, "--stop-after", "1") : words, "--steps", "2"),
        ["bench", "step" or "gpt2", ..] => With(With(With(words, "--rounds", "1"), "--warmup", "0"), "--layers", "1"),
        ["bench", ..] => With(words, "--rounds", "1"),
        _ => words,
    };

    private static string[] With(string[] words, string option, string value)
        => Array.IndexOf(words, option) is >= 0 and int at ? [.. words[..at], option, value, .. words[(at + 2)..]] : [.. words, option, value];

    [GeneratedRegex(@"\]\(([^)#\s]+)(?:#[^)]*)?\)")]
    private static partial Regex Link();

    // A path in code font, without the names of a pattern: "src/Varlen/Ops/SwiGlu.cs".
    [GeneratedRegex(@"`((?:src|tests|docs|samples|benchmarks|\.ci)/[A-Za-z0-9_./-]+)`")]
    private static partial Regex RepositoryPath();
}
