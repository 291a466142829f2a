namespace Varlen.Cli.Benchmarks;

/// <summary>The source tree that the present folder or the program is inside of.</summary>
internal static class Checkout
{
    /// <summary>The path of a file of the tree; null when there is none.</summary>
    /// <param name="path">Relative to its root.</param>
    public static string? Find(string path)
    {
        foreach (string from in (string[])[Environment.CurrentDirectory, AppContext.BaseDirectory])
            for (DirectoryInfo? folder = new(from); folder is not null; folder = folder.Parent)
                if (Path.Combine(folder.FullName, path) is var found && File.Exists(found)) return found;
        return null;
    }
}
