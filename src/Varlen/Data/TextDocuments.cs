using Varlen.Text;

namespace Varlen.Data;

/// <summary>Documents as token ids: one per text file, its bytes and an end-of-text token.</summary>
public static class TextDocuments
{
    /// <summary>Reads files, and all text files below folders, in the ordinal order of their paths.</summary>
    /// <param name="paths">Files or folders.</param>
    /// <exception cref="FileNotFoundException">A path is neither a file nor a folder.</exception>
    /// <exception cref="InvalidDataException">There is no text at all.</exception>
    public static IReadOnlyList<ReadOnlyMemory<int>> Read(IEnumerable<string> paths)
    {
        ArgumentNullException.ThrowIfNull(paths);
        var documents = new List<ReadOnlyMemory<int>>();
        foreach (string path in paths)
            foreach (string file in Files(path))
                if (File.ReadAllBytes(file) is { Length: > 0 } bytes) documents.Add((int[])[.. bytes.Select(b => (int)b), new ByteTokenizer().EndOfText]);
        return documents.Count > 0 ? documents : throw new InvalidDataException($"no text found in {string.Join(", ", paths)}; pass files, or folders that hold .txt or .md files");
    }

    private static IEnumerable<string> Files(string path)
    {
        if (File.Exists(path)) return [path];
        if (!Directory.Exists(path)) throw new FileNotFoundException($"{path} is neither a file nor a folder", path);
        return Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories)
            .Where(file => Path.GetExtension(file) is ".txt" or ".md").Order(StringComparer.Ordinal);
    }
}
