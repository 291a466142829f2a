using Varlen.Text;

namespace Varlen.Data;

/// <summary>How texts are read.</summary>
public sealed record TextCorpusOptions
{
    /// <summary>
    /// The field of a jsonl record that holds its text; nothing else of a record is read then. When null, each record tells by its fields what
    /// it is: <c>text</c>, <c>prompt</c> and <c>completion</c>, or <c>messages</c>.
    /// </summary>
    public string? TextField { get; init; }

    /// <summary>Says how messages become text, once, when the first record has some; without it, such records are bad lines.</summary>
    public Func<ChatFormat>? ChatFormat { get; init; }

    /// <summary>What a line means that is no valid record.</summary>
    public BadLines BadLines { get; init; }
}

/// <summary>What bad lines of jsonl files mean.</summary>
public enum BadLines
{
    /// <summary>An error, once all of them are known.</summary>
    Stop,
    /// <summary>They are left out and counted.</summary>
    Skip,
}
