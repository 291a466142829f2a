using System.Text.Json.Serialization;

namespace Varlen.Data;

/// <summary>What a document is made from, which decides what of it is trained.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<RecordKind>))]
public enum RecordKind
{
    /// <summary>A file, or a record with a text: all of it is trained.</summary>
    [JsonStringEnumMemberName("text")] Text,

    /// <summary>A prompt with its completion, of which the completion and the end of text are trained.</summary>
    [JsonStringEnumMemberName("completion")] Completion,

    /// <summary>A conversation, of which the assistant's messages and their ends are trained.</summary>
    [JsonStringEnumMemberName("messages")] Messages,
}

/// <summary>Documents of a kind.</summary>
/// <param name="Kind">The kind.</param>
/// <param name="Documents">How many there are.</param>
/// <param name="Tokens">Their tokens, ends of text included.</param>
/// <param name="TrainedTargets">Tokens that are predicted and trained: of a text all but the first.</param>
public sealed record RecordCount(RecordKind Kind, int Documents, long Tokens, long TrainedTargets);
