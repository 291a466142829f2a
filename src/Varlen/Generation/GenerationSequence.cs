using Varlen.Ops;

namespace Varlen.Generation;

/// <summary>One prompt on its way to a text.</summary>
internal sealed class GenerationSequence
{
    private readonly int[] _window;
    private readonly GenerationOptions _options;
    private readonly IReadOnlySet<int> _ends;
    private readonly TextTail? _tail;
    private readonly TokenSampler _sampler;
    private readonly HashSet<int>? _seen;
    private readonly ulong _seed;
    private int _count, _read, _drawn;

    /// <param name="number">Number of the prompt.</param>
    /// <param name="prompt">The prompt.</param>
    /// <param name="options">Checked options.</param>
    /// <param name="maxLength">The model's positions.</param>
    /// <param name="ends">Ids that end a text.</param>
    /// <param name="tail">Makes text of tokens; null when nobody wants it.</param>
    public GenerationSequence(int number, GenerationPrompt prompt, GenerationOptions options, int maxLength, IReadOnlySet<int> ends, TextTail? tail)
    {
        (Number, _options, _ends, _tail) = (number, options, ends, tail);
        _seed = (ulong)(prompt.Seed ?? options.Seed);
        _sampler = new TokenSampler(options.Temperature, options.TopK, options.TopP, _seed, options.RepetitionPenalty);
        _count = Math.Min(prompt.Ids.Length, maxLength);
        // Room for what is to come only: many short texts need not each hold the model's longest.
        _window = new int[(int)Math.Min(maxLength, (long)_count + options.MaxTokens)];
        MaxLength = maxLength;
        prompt.Ids.Span[^_count..].CopyTo(_window);
        if (options.RepetitionPenalty != 1) _seen = [.. prompt.Ids.Span];
    }

    public int Number { get; }

    private int MaxLength { get; }

    /// <summary>Most tokens that the model will have read of it at a time.</summary>
    public int MostTokens => _window.Length;

    /// <summary>Tokens that the model has not read.</summary>
    public ReadOnlyMemory<int> Unread => _window.AsMemory(_read.._count);

    /// <summary>Whether nothing has been read: the first pass, or the one after the older half was forgotten.</summary>
    public bool IsFresh => _read == 0;

    /// <summary>The event of a prompt that is given no token.</summary>
    public GeneratedToken Nothing => new(Number, -1, _tail is null ? null : "", GenerationEnd.Length);

    /// <summary>What a device needs to know to draw what follows the tokens.</summary>
    /// <param name="slot">The sequence's marks there.</param>
    public SampledRow Row(int slot) => SampledRow.Of(slot, _window[_count - 1], _seed, _drawn);

    /// <summary>Draws what follows the tokens, which have now been read.</summary>
    public GeneratedToken Draw(ReadOnlySpan<float> logits) => Take(_sampler.Draw(logits, _drawn, _seen));

    /// <summary>Takes what was drawn behind the tokens, which have now been read.</summary>
    public GeneratedToken Take(int id)
    {
        _read = _count;
        _drawn++;
        _seen?.Add(id);
        GenerationEnd end = _ends.Contains(id) ? GenerationEnd.EndOfText : _drawn == _options.MaxTokens ? GenerationEnd.Length : GenerationEnd.None;
        string? text = null;
        if (_tail is not null)
        {
            (text, bool stopped) = _tail.Add(end == GenerationEnd.EndOfText ? -1 : id, last: end != GenerationEnd.None);
            if (stopped) end = GenerationEnd.Stop;
        }
        if (end == GenerationEnd.None) Append(id);
        return new(Number, id, text, end);
    }

    private void Append(int id)
    {
        if (_count == MaxLength)
        {
            _window.AsSpan(_count - _count / 2, _count / 2).CopyTo(_window);
            _count /= 2;
            _read = 0;
        }
        _window[_count++] = id;
    }
}
