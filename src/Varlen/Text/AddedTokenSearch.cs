using System.Buffers;
using System.Globalization;
using System.Text;

namespace Varlen.Text;

/// <summary>
/// Finds added tokens in a text: the leftmost, and there the longest. One that may not stand there (special, or not a word of its own) is
/// passed over whole, as HuggingFace's <c>tokenizers</c> does.
/// </summary>
internal sealed class AddedTokenSearch
{
    private readonly Dictionary<(int Node, byte Value), int> _next = [];
    private readonly List<AddedToken?> _ends = [null];
    private readonly SearchValues<byte> _first;

    public AddedTokenSearch(IEnumerable<AddedToken> tokens, Func<string, string> normalize)
    {
        var first = new HashSet<byte>();
        foreach (AddedToken token in tokens)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(normalize(token.Content));
            int node = 0;
            foreach (byte value in bytes)
            {
                if (!_next.TryGetValue((node, value), out int next))
                {
                    _next.Add((node, value), next = _ends.Count);
                    _ends.Add(null);
                }
                node = next;
            }
            _ends[node] = token;
            first.Add(bytes[0]);
        }
        _first = SearchValues.Create([.. first]);
    }

    /// <summary>Goes on with a text.</summary>
    /// <param name="text">The text.</param>
    /// <param name="special">Whether special tokens are recognised.</param>
    /// <param name="at">Where to search on; moves behind what was found.</param>
    /// <param name="done">What earlier tokens took, which white space before a token cannot be taken from.</param>
    /// <param name="start">Where the token begins, white space included.</param>
    /// <param name="end">Where it ends, white space included.</param>
    public AddedToken? Next(ReadOnlySpan<byte> text, bool special, ref int at, int done, out int start, out int end)
    {
        while (Longest(text, ref at, out start) is { } token)
        {
            end = at;
            if (token.IsSpecial && !special) continue;
            if (token.SingleWord && (IsWord(Rune.DecodeLastFromUtf8(text[..start], out Rune before, out _), before) || IsWord(Rune.DecodeFromUtf8(text[end..], out Rune after, out _), after))) continue;
            if (token.TakesLeft)
                while (start > done && (Characters.Last(text[..start], out int width) & CharacterKinds.Space) != 0) start -= width;
            if (token.TakesRight) end = Characters.Run(text, end, CharacterKinds.Space);
            return token;
        }
        start = end = text.Length;
        return null;
    }

    private AddedToken? Longest(ReadOnlySpan<byte> text, ref int at, out int start)
    {
        while (text[at..].IndexOfAny(_first) is >= 0 and int skip)
        {
            start = at + skip;
            AddedToken? longest = null;
            for (int node = 0, end = start; end < text.Length && _next.TryGetValue((node, text[end++]), out node);)
                if (_ends[node] is { } token) (longest, at) = (token, end);
            if (longest is not null) return longest;
            at = start + 1;
        }
        start = at = text.Length;
        return null;
    }

    // \w of Rust's regular expressions; the two joiners are all it has beside categories.
    private static bool IsWord(OperationStatus status, Rune rune) => status == OperationStatus.Done && (rune.Value is 0x200C or 0x200D || Rune.GetUnicodeCategory(rune) is
        UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter
        or UnicodeCategory.LetterNumber or UnicodeCategory.DecimalDigitNumber or UnicodeCategory.ConnectorPunctuation
        or UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark);
}
