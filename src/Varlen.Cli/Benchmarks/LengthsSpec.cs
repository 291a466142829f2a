using System.Globalization;
using System.Text.RegularExpressions;
using Varlen.Cli.Terminal;

namespace Varlen.Cli.Benchmarks;

/// <summary>
/// The lengths of the sequences in a benchmark's batch: a file with one length a line, <c>uniform:A..BxN</c> (N lengths drawn from A to
/// B, both included), <c>lognormal:M,S..BxN</c> (N lengths whose logarithms are normal with median M and deviation S, from 1 to B),
/// <c>fixed:LxN</c> (N times L), or <c>texts:PATH</c> (batches of the tokenised documents of a file or folder). A file with several lengths
/// on a line has a batch in each line.
/// </summary>
/// <param name="Name">Names the workload in results: the file's name without its ending, or the text itself.</param>
/// <param name="Lengths">The lengths in order, of all batches; never empty, zeros are legal.</param>
internal sealed partial record LengthsSpec(string Name, IReadOnlyList<int> Lengths)
{
    private const string Forms = "a file with one length a line (or a batch of lengths, with spaces between them), uniform:A..BxN (such as uniform:1..1023x32), lognormal:MEDIAN,DEVIATION..MOSTxN (such as lognormal:200,0.8..1023x32), fixed:LxN (such as fixed:8192x4), or texts:PATH";
    private const int MostSequences = 1 << 20;
    private const double Unit = 1.0 / (1L << 53);

    /// <summary>The lengths of each batch; one batch unless a file had several.</summary>
    public IReadOnlyList<IReadOnlyList<int>> Batches { get; init; } = [Lengths];

    /// <summary>Tokens of all batches.</summary>
    public long Tokens => Lengths.Sum(length => (long)length);

    /// <summary>Reads a specification.</summary>
    /// <param name="text">What the user gave.</param>
    /// <param name="seed">Decides the lengths of <c>uniform</c>; the same seed gives the same lengths everywhere.</param>
    /// <exception cref="CommandException">It is none of these forms (2), or the file cannot be read (66) or holds something else (65).</exception>
    public static LengthsSpec Parse(string text, ulong seed)
    {
        if (Uniform().Match(text) is { Success: true } uniform)
        {
            (int least, int most, int count) = (Number(uniform, 1, text), Number(uniform, 2, text), Number(uniform, 3, text));
            if (least > most) throw Bad(text, $"{least} is greater than {most}", $"write uniform:{most}..{least}x{count}");
            return Checked(text, text, Enumerable.Repeat(0, Count(count, text)).Select((_, i) => Draw(seed, i, least, most)));
        }
        if (Lognormal().Match(text) is { Success: true } normal)
        {
            (int median, int most, int count) = (Number(normal, 1, text), Number(normal, 3, text), Number(normal, 4, text));
            double deviation = double.Parse(normal.Groups[2].Value, CultureInfo.InvariantCulture);
            if (median < 1 || median > most) throw Bad(text, $"the median {median} is not in 1..{most}", "write lognormal:MEDIAN,DEVIATION..MOSTxN with a median from 1 to MOST");
            return Checked(text, text, Enumerable.Repeat(0, Count(count, text)).Select((_, i) => (int)Math.Clamp(Math.Round(median * Math.Exp(deviation * Normal(seed, i))), 1, most)));
        }
        if (Fixed().Match(text) is { Success: true } repeated)
        {
            (int length, int count) = (Number(repeated, 1, text), Number(repeated, 2, text));
            return Checked(text, text, Enumerable.Repeat(length, Count(count, text)));
        }
        if (TextLengths.Accepts(text)) return TextLengths.Read(text, seed);
        if (Prefix().IsMatch(text) && !File.Exists(text)) throw Bad(text, "it does not have that form", $"give {Forms}");
        return FromFile(text);
    }

    private static LengthsSpec FromFile(string path)
    {
        string[] lines;
        try
        {
            lines = File.ReadAllLines(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new CommandException(ExitCode.InputUnreadable, "cannot read the lengths", path, e.Message, $"give {Forms}", e);
        }
        var rows = new List<int[]>(lines.Length);
        for (int i = 0; i < lines.Length; i++)
        {
            string[] words = lines[i].Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
            if (words.Length == 0) continue;
            rows.Add(Array.ConvertAll(words, word => int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out int length)
                ? length : throw new CommandException(ExitCode.BadData, $"'{(word.Length > 40 ? word[..40] + "..." : word)}' is not a length", $"{path}:{i + 1}", $"a length is a whole number from 0 to {int.MaxValue}", "write one length a line")));
        }
        if (rows.Count == 0) throw new CommandException(ExitCode.BadData, "there are no lengths", path, "the file is empty", "write one length a line");
        LengthsSpec spec = Checked(Path.GetFileNameWithoutExtension(path), path, rows.SelectMany(row => row));
        return rows.All(row => row.Length == 1) ? spec : spec with { Batches = rows };
    }

    private static LengthsSpec Checked(string name, string text, IEnumerable<int> lengths)
    {
        var spec = new LengthsSpec(name, [.. lengths]);
        if (spec.Tokens > int.MaxValue) throw Bad(text, $"{spec.Tokens} tokens are more than 32-bit offsets can count, {int.MaxValue}", "use fewer or shorter sequences");
        return spec;
    }

    private static int Count(int count, string text)
        => count is >= 1 and <= MostSequences ? count : throw Bad(text, $"it asks for {count} sequences", $"ask for 1 to {MostSequences}");

    private static int Number(Match match, int group, string text)
        => int.TryParse(match.Groups[group].Value, NumberStyles.None, CultureInfo.InvariantCulture, out int value)
            ? value : throw Bad(text, $"{match.Groups[group].Value} is too large", $"use numbers up to {int.MaxValue}");

    private static CommandException Bad(string text, string why, string fix) => CommandException.Usage($"--lengths cannot be '{text}'", why, fix);

    /// <summary>A whole number of a range from a counter-based generator (SplitMix64): it depends on the seed and its own place alone, on every platform.</summary>
    internal static int Draw(ulong seed, int index, int least, int most) => least + (int)(((UInt128)Word(seed, (ulong)index) * ((ulong)most - (ulong)least + 1)) >> 64);

    // Box and Muller's, from two words.
    private static double Normal(ulong seed, int index)
    {
        double radius = ((Word(seed, 2 * (ulong)index) >> 11) + 1) * Unit, angle = (Word(seed, (2 * (ulong)index) + 1) >> 11) * Unit;
        return Math.Sqrt(-2 * Math.Log(radius)) * Math.Cos(2 * Math.PI * angle);
    }

    private static ulong Word(ulong seed, ulong index)
    {
        ulong z = unchecked(seed * 0xD1342543DE82EF95 + (index + 1) * 0x9E3779B97F4A7C15);
        z = unchecked((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9);
        z = unchecked((z ^ (z >> 27)) * 0x94D049BB133111EB);
        return z ^ (z >> 31);
    }

    [GeneratedRegex(@"^uniform:([0-9]+)\.\.([0-9]+)x([0-9]+)$", RegexOptions.CultureInvariant)]
    private static partial Regex Uniform();

    [GeneratedRegex(@"^lognormal:([0-9]+),([0-9]+(?:\.[0-9]+)?)\.\.([0-9]+)x([0-9]+)$", RegexOptions.CultureInvariant)]
    private static partial Regex Lognormal();

    [GeneratedRegex(@"^fixed:([0-9]+)x([0-9]+)$", RegexOptions.CultureInvariant)]
    private static partial Regex Fixed();

    // Two letters at least: c: is a Windows drive.
    [GeneratedRegex(@"^[A-Za-z]{2,}:", RegexOptions.CultureInvariant)]
    private static partial Regex Prefix();
}
