namespace Varlen.Generation;

/// <summary>How texts are continued.</summary>
public sealed record GenerationOptions
{
    /// <summary>Most tokens to add to each prompt.</summary>
    public int MaxTokens { get; init; } = 200;

    /// <summary>Divides the logits; 0 takes the likeliest token.</summary>
    public double Temperature { get; init; } = 0.8;

    /// <summary>Only this many of the likeliest tokens may be drawn; all when null.</summary>
    public int? TopK { get; init; }

    /// <summary>Only the likeliest tokens that together have this probability, of those that <see cref="TopK"/> leaves, may be drawn; all when null.</summary>
    public double? TopP { get; init; }

    /// <summary>
    /// Divides the logits above 0, and multiplies those below, of all tokens that prompt and text have had; 1 changes nothing. (Keskar et al.,
    /// "CTRL"; as in <c>transformers</c>.) It acts before the temperature.
    /// </summary>
    public double RepetitionPenalty { get; init; } = 1;

    /// <summary>Texts end before any of these strings; it is not part of them.</summary>
    public IReadOnlyList<string> Stop { get; init; } = [];

    /// <summary>Seed of the draws, for every prompt that has no seed of its own: a prompt's text is the same alone and among others.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>Most prompts that are continued together; as one ends, the next begins.</summary>
    public int BatchSize { get; init; } = 32;

    internal void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfNegative(MaxTokens);
        ArgumentOutOfRangeException.ThrowIfLessThan(BatchSize, 1);
        foreach (string stop in Stop)
            if (string.IsNullOrEmpty(stop)) throw new ArgumentException("a stop string is empty; leave it out", nameof(Stop));
        TokenSampler.Check(Temperature, TopK, TopP, RepetitionPenalty);
    }
}

/// <summary>What to continue.</summary>
/// <param name="Ids">At least one id; of a prompt longer than the model's positions only the end is read.</param>
/// <param name="Seed">Seed of its draws; the options' when null.</param>
public readonly record struct GenerationPrompt(ReadOnlyMemory<int> Ids, long? Seed = null)
{
    /// <summary>A prompt with the options' seed.</summary>
    public static implicit operator GenerationPrompt(int[] ids) => new(ids);
}

/// <summary>Why a text has ended.</summary>
public enum GenerationEnd
{
    /// <summary>It has not.</summary>
    None,
    /// <summary>The model ended it.</summary>
    EndOfText,
    /// <summary>It has as many tokens as were asked for.</summary>
    Length,
    /// <summary>It came upon a stop string.</summary>
    Stop,
}

/// <summary>One more token of a text.</summary>
/// <param name="Prompt">Number of the prompt, from 0.</param>
/// <param name="Id">The token; -1 in the only event of a prompt that was given no token.</param>
/// <param name="Text">
/// What the text has become longer by; null without a tokenizer. It may lag behind the tokens: parts of a character and possible beginnings
/// of a stop string are held back.
/// </param>
/// <param name="End">Whether this was the last, and why.</param>
public readonly record struct GeneratedToken(int Prompt, int Id, string? Text, GenerationEnd End);
