using System.Text;
using Varlen.Text;

namespace Varlen.Generation;

/// <summary>Turns tokens into text as they come, up to the first stop string.</summary>
/// <param name="tokenizer">Gives the bytes.</param>
/// <param name="stops">The stop strings.</param>
internal sealed class TextTail(Tokenizer tokenizer, IReadOnlyList<string> stops)
{
    // Bytes of a character may come from several tokens: the decoder keeps what is incomplete.
    private readonly Decoder _decoder = Encoding.UTF8.GetDecoder();
    private readonly StringBuilder _held = new();
    private char[] _characters = new char[64];

    /// <summary>Takes one more token.</summary>
    /// <param name="id">The token, or -1 for none.</param>
    /// <param name="last">Whether no more follow: nothing is held back.</param>
    /// <returns>The text that has become certain, and whether a stop string came after it.</returns>
    public (string Text, bool Stopped) Add(int id, bool last)
    {
        ReadOnlySpan<byte> bytes = id < 0 ? [] : tokenizer.Bytes(id);
        if (_characters.Length < bytes.Length + 4) _characters = new char[2 * bytes.Length];
        _held.Append(_characters, 0, _decoder.GetChars(bytes, _characters, flush: last));
        string text = _held.ToString();
        int stop = -1;
        foreach (string end in stops)
            if (text.IndexOf(end, StringComparison.Ordinal) is >= 0 and int at && (stop < 0 || at < stop)) stop = at;
        int certain = stop >= 0 ? stop : last ? text.Length : text.Length - Held(text);
        _held.Remove(0, certain);
        return (text[..certain], stop >= 0);
    }

    // The longest end of the text that a stop string begins with.
    private int Held(string text)
    {
        int held = 0;
        foreach (string stop in stops)
            for (int count = Math.Min(stop.Length - 1, text.Length); count > held; count--)
                if (text.AsSpan(text.Length - count).SequenceEqual(stop.AsSpan(0, count))) held = count;
        return held;
    }
}
