using System.Text;

namespace Varlen.Text;

/// <summary>
/// Ids to text while they are made. Only whole characters are given out: a character whose bytes come from several tokens waits for the last
/// one. All pieces together are the text of <see cref="Tokenizer.Decode"/>.
/// </summary>
/// <remarks>One text each, by one thread.</remarks>
public sealed class StreamingDecoder
{
    private readonly Tokenizer _tokenizer;
    private readonly bool _skipSpecialTokens;
    private readonly Decoder _decoder = Encoding.UTF8.GetDecoder();
    private char[] _characters = new char[256];

    /// <summary>A decoder at the beginning of a text.</summary>
    /// <param name="tokenizer">The tokenizer of the ids.</param>
    /// <param name="skipSpecialTokens">Whether special tokens are left out; else they appear as they are spelled.</param>
    public StreamingDecoder(Tokenizer tokenizer, bool skipSpecialTokens = true)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        (_tokenizer, _skipSpecialTokens) = (tokenizer, skipSpecialTokens);
    }

    /// <summary>The characters that an id completes; often none, or more than one.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The tokenizer has no such id.</exception>
    public string Add(int id)
    {
        ReadOnlySpan<byte> bytes = _tokenizer.Bytes(id);
        if (!_skipSpecialTokens && _tokenizer.SpecialToken(id) is { } name) bytes = Encoding.UTF8.GetBytes(name);
        return Take(bytes, end: false);
    }

    /// <summary>Ends the text: U+FFFD when a character stayed incomplete, else nothing. A new text can follow.</summary>
    public string Finish() => Take([], end: true);

    private string Take(ReadOnlySpan<byte> bytes, bool end)
    {
        // A decoder gives at most one character for each byte, and one for what it kept.
        if (_characters.Length < bytes.Length + 4) _characters = new char[bytes.Length * 2];
        return new(_characters, 0, _decoder.GetChars(bytes, _characters, end));
    }
}
