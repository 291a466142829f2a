using System.Buffers;
using System.Globalization;
using System.Text;

namespace Varlen.Text;

/// <summary>
/// Unicode's normalisation form C, on UTF-8. The tables are our own, so that ids depend neither on the system's libraries nor on whether
/// .NET runs without them. Bytes that are no UTF-8 stay.
/// </summary>
/// <remarks>Source: Unicode Standard Annex 15; <c>Normalization.txt</c> says which version.</remarks>
internal static class Normalization
{
    private const int Syllables = 0xAC00, Leads = 0x1100, Vowels = 0x1161, Tails = 0x11A7, LeadCount = 19, VowelCount = 21, TailCount = 28, SyllableCount = LeadCount * VowelCount * TailCount;
    private static readonly Tables Data = Tables.Read();

    /// <summary>Whether composing surely changes nothing; false can be wrong.</summary>
    public static bool IsComposed(ReadOnlySpan<byte> text)
    {
        while (text.IndexOfAnyInRange((byte)0xCC, (byte)0xFF) is >= 0 and int at)
        {
            // The first character that can change is U+0300.
            if (Rune.DecodeFromUtf8(text[at..], out Rune rune, out int width) == OperationStatus.Done && Data.CanChange(rune.Value)) return false;
            text = text[(at + width)..];
        }
        return true;
    }

    /// <summary>Whether the last character can be another, or several, after composing.</summary>
    public static bool LastCanChange(ReadOnlySpan<byte> text) => Rune.DecodeLastFromUtf8(text, out Rune rune, out _) == OperationStatus.Done && Data.CanChange(rune.Value);

    public static string Compose(string text) => Encoding.UTF8.GetString(Compose(Encoding.UTF8.GetBytes(text)));

    public static byte[] Compose(ReadOnlySpan<byte> text)
    {
        List<int> parts = Decompose(text);
        Order(parts);
        var composed = new ArrayBufferWriter<byte>(text.Length);
        foreach (int part in Join(parts))
        {
            if (part < 0) composed.Write([(byte)~part]);
            else composed.Advance(new Rune(part).EncodeToUtf8(composed.GetSpan(4)));
        }
        return composed.WrittenSpan.ToArray();
    }

    // Bytes that are no UTF-8 become negative.
    private static List<int> Decompose(ReadOnlySpan<byte> text)
    {
        var parts = new List<int>(text.Length);
        while (!text.IsEmpty)
        {
            if (Rune.DecodeFromUtf8(text, out Rune rune, out int width) == OperationStatus.Done) Add(rune.Value);
            else foreach (byte value in text[..width]) parts.Add(~value);
            text = text[width..];
        }
        return parts;

        void Add(int value)
        {
            if (value - Syllables is >= 0 and < SyllableCount and int syllable)
            {
                parts.Add(Leads + syllable / (VowelCount * TailCount));
                parts.Add(Vowels + syllable / TailCount % VowelCount);
                if (syllable % TailCount > 0) parts.Add(Tails + syllable % TailCount);
            }
            else if (Data.Decompositions.TryGetValue(value, out int[]? pieces))
            {
                foreach (int piece in pieces) Add(piece);
            }
            else parts.Add(value);
        }
    }

    // Stable: marks of one class keep their order.
    private static void Order(List<int> parts)
    {
        for (int start = 0; start < parts.Count; start++)
        {
            if (Data.ClassOf(parts[start]) == 0) continue;
            int end = start + 1;
            bool sorted = true;
            for (; end < parts.Count && Data.ClassOf(parts[end]) is > 0 and int next; end++) sorted &= Data.ClassOf(parts[end - 1]) <= next;
            if (!sorted)
            {
                int[] marks = [.. parts[start..end].OrderBy(Data.ClassOf)];
                for (int i = 0; i < marks.Length; i++) parts[start + i] = marks[i];
            }
            start = end;
        }
    }

    private static List<int> Join(List<int> parts)
    {
        var joined = new List<int>(parts.Count);
        int starter = -1, last = 0;
        foreach (int part in parts)
        {
            int own = Data.ClassOf(part);
            if (starter >= 0 && (last < own || starter == joined.Count - 1) && Pair(joined[starter], part) is > 0 and int pair)
            {
                joined[starter] = pair;
                continue;
            }
            if (own == 0) starter = joined.Count;
            last = own;
            joined.Add(part);
        }
        return joined;
    }

    private static int Pair(int first, int second)
    {
        if (first - Leads is >= 0 and < LeadCount and int lead && second - Vowels is >= 0 and < VowelCount and int vowel) return Syllables + (lead * VowelCount + vowel) * TailCount;
        if (first - Syllables is >= 0 and < SyllableCount and int syllable && syllable % TailCount == 0 && second - Tails is > 0 and < TailCount and int tail) return first + tail;
        return Data.Compositions.GetValueOrDefault((first, second));
    }

    private sealed class Tables
    {
        public readonly Dictionary<int, int[]> Decompositions = [];
        public readonly Dictionary<(int First, int Second), int> Compositions = [];
        private readonly Dictionary<int, int> _classes = [];
        private readonly HashSet<int> _changing = [.. Enumerable.Range(Vowels, VowelCount), .. Enumerable.Range(Tails + 1, TailCount - 1)];

        public bool CanChange(int value) => _changing.Contains(value);

        public int ClassOf(int value) => _classes.GetValueOrDefault(value);

        public static Tables Read()
        {
            var tables = new Tables();
            using Stream stream = typeof(Tables).Assembly.GetManifestResourceStream("Normalization.txt") ?? throw new InvalidOperationException("Normalization.txt is missing in the assembly");
            using var reader = new StreamReader(stream);
            while (reader.ReadLine() is { } line)
                if (line.Length > 0 && line[0] != '#') tables.Add(line.Split(' '));
            return tables;
        }

        // "class FIRST LAST class", "joins COMPOSED FIRST SECOND" or "becomes VALUE PART...".
        private void Add(string[] fields)
        {
            int[] values = [.. fields[1..].Select(field => int.Parse(field, NumberStyles.HexNumber, CultureInfo.InvariantCulture))];
            if (fields[0] == "class")
            {
                for (int value = values[0]; value <= values[1]; value++) _classes.Add(value, values[2]);
                _changing.UnionWith(Enumerable.Range(values[0], values[1] - values[0] + 1));
                return;
            }
            Decompositions.Add(values[0], values[1..]);
            if (fields[0] == "joins")
            {
                Compositions.Add((values[1], values[2]), values[0]);
                _changing.Add(values[2]);
            }
            else _changing.Add(values[0]);
        }
    }
}
