namespace Varlen.Cli.Terminal;

/// <summary>Finds the word that was probably meant.</summary>
internal static class Spelling
{
    /// <summary>The candidate nearest to a word, or null when none is near: a third of its letters may be wrong, at least one.</summary>
    public static string? Nearest(string word, IEnumerable<string> candidates)
    {
        int allowed = Math.Max(1, word.Trim('-').Length / 3);
        return candidates
            .Select(candidate => (candidate, distance: Distance(word, candidate)))
            // A beginning counts as near: --win for --window.
            .Where(c => c.distance <= allowed || (word.Trim('-').Length >= 3 && c.candidate.StartsWith(word, StringComparison.Ordinal)))
            .OrderBy(c => c.distance)
            .Select(c => c.candidate)
            .FirstOrDefault();
    }

    /// <summary>Insertions, deletions, replacements and swaps of neighbours between two words (optimal string alignment).</summary>
    internal static int Distance(string a, string b)
    {
        var d = new int[a.Length + 1, b.Length + 1];
        for (int i = 0; i <= a.Length; i++) d[i, 0] = i;
        for (int j = 0; j <= b.Length; j++) d[0, j] = j;
        for (int i = 1; i <= a.Length; i++)
        {
            for (int j = 1; j <= b.Length; j++)
            {
                int replaced = d[i - 1, j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
                d[i, j] = Math.Min(replaced, Math.Min(d[i - 1, j], d[i, j - 1]) + 1);
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) d[i, j] = Math.Min(d[i, j], d[i - 2, j - 2] + 1);
            }
        }
        return d[a.Length, b.Length];
    }
}
