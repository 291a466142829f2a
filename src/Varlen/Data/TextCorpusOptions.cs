namespace Varlen.Data;

/// <summary>How texts are read.</summary>
public sealed record TextCorpusOptions
{
    /// <summary>The field of a jsonl record that holds its text.</summary>
    public string TextField { get; init; } = "text";

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
