using System.Collections.Frozen;

namespace Varlen.Data;

/// <summary>A file to read.</summary>
/// <param name="Path">The path.</param>
/// <param name="Named">Whether the user named it; otherwise it was found in a folder.</param>
internal readonly record struct FoundFile(string Path, bool Named)
{
    public bool IsJsonLines => System.IO.Path.GetExtension(Path).ToUpperInvariant() is ".JSONL" or ".NDJSON";
}

/// <summary>The files that paths stand for: named ones, and those of folders in the ordinal order of their relative paths.</summary>
internal sealed class CorpusFiles
{
    private static readonly FrozenSet<string> Endings = new[]
    {
        ".txt", ".text", ".md", ".markdown", ".rst", ".tex", ".jsonl", ".ndjson",
        ".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".cuh", ".cs", ".fs", ".vb", ".java", ".kt", ".scala", ".go", ".rs", ".swift", ".zig", ".m",
        ".py", ".rb", ".php", ".pl", ".lua", ".r", ".jl", ".hs", ".ml", ".clj", ".ex", ".erl", ".js", ".jsx", ".ts", ".tsx", ".css", ".html", ".sh", ".ps1", ".sql",
    }.ToFrozenSet(StringComparer.OrdinalIgnoreCase);

    private readonly HashSet<string> _visited = new(StringComparer.Ordinal);

    /// <summary>Named files and files of folders, in the order of the paths.</summary>
    public List<FoundFile> Files { get; } = [];

    /// <summary>Files of folders whose ending is not one of text.</summary>
    public long Others { get; private set; }

    /// <summary>Folders and files that cannot be read as text.</summary>
    public List<SkippedFile> Skipped { get; } = [];

    /// <summary>Adds a file, or what a folder holds.</summary>
    /// <exception cref="FileNotFoundException">The path is neither.</exception>
    /// <exception cref="TextFormatException">A folder holds no text.</exception>
    public void Add(string path)
    {
        if (Directory.Exists(path)) AddFolder(path);
        else if (File.Exists(path)) Files.Add(new(path, true));
        else throw new FileNotFoundException($"{path} is neither a file nor a folder; check the name", path);
    }

    /// <summary>Length of a file behind its links; 0 also for what is no regular file. Such a thing must not be opened: a pipe would wait for its writer.</summary>
    public static long LengthOf(string path) => new FileInfo(File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path).Length;

    private void AddFolder(string folder)
    {
        var found = new List<string>();
        long others = Others;
        Walk(folder, "", found);
        if (found.Count == 0)
            throw new TextFormatException("the folder holds no text", folder, 0, 0, $"of its {Others - others} files none ends in .txt, .md, .jsonl or an ending of source code", "name another folder, or name files: those are read whatever their ending");
        found.Sort(StringComparer.Ordinal);
        Files.AddRange(found.Select(relative => new FoundFile(Path.Combine(folder, relative), false)));
    }

    private void Walk(string folder, string relative, List<string> found)
    {
        string path = Path.Combine(folder, relative);
        // By real path: links can make a loop, and must not make a text count twice.
        if (!_visited.Add(RealPath(path)))
        {
            Skipped.Add(new(path, "the folder was read before, by another path"));
            return;
        }
        // Training below one's texts must not learn from its own reports and samples the next time.
        if (relative.Length > 0 && File.Exists(Path.Combine(path, "config.json")) && File.Exists(Path.Combine(path, "tokens.bin")))
        {
            Skipped.Add(new(path, "it is the folder of a training run"));
            return;
        }
        string[] entries = Directory.GetFileSystemEntries(path);
        Array.Sort(entries, StringComparer.Ordinal);
        foreach (string entry in entries)
        {
            string child = relative.Length == 0 ? Path.GetFileName(entry) : $"{relative}/{Path.GetFileName(entry)}";
            if (Directory.Exists(entry)) Walk(folder, child, found);
            else if (!Endings.Contains(Path.GetExtension(entry))) Others++;
            else if (File.Exists(entry) && File.ResolveLinkTarget(entry, returnFinalTarget: true) is null or { Exists: true }) found.Add(child);
            else Skipped.Add(new(entry, "the link leads nowhere"));
        }
    }

    /// <summary>A path without links.</summary>
    private static string RealPath(string path)
    {
        string current = Path.GetPathRoot(Path.GetFullPath(path))!;
        var parts = new Stack<string>(Split(Path.GetFullPath(path)[current.Length..]).Reverse());
        for (int links = 0; parts.TryPop(out string? part);)
        {
            if (part == ".") continue;
            if (part == "..")
            {
                current = Path.GetDirectoryName(current) ?? current;
                continue;
            }
            string next = Path.Combine(current, part);
            if (new DirectoryInfo(next).LinkTarget is not { } target) current = next;
            else if (++links > 40) throw new IOException($"{path} passes through more than 40 links; remove the loop");
            else
            {
                if (Path.IsPathRooted(target))
                {
                    current = Path.GetPathRoot(target)!;
                    target = target[current.Length..];
                }
                foreach (string step in Split(target).Reverse()) parts.Push(step);
            }
        }
        return current;
    }

    private static string[] Split(string path) => path.Split([Path.DirectorySeparatorChar, Path.AltDirectorySeparatorChar], StringSplitOptions.RemoveEmptyEntries);
}
