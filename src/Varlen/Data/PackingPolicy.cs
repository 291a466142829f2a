using System.Text.Json.Serialization;

namespace Varlen.Data;

/// <summary>How sequences are grouped into batches of at most a number of tokens. No policy drops a token.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<PackingPolicy>))]
public enum PackingPolicy
{
    /// <summary>Each sequence goes where it leaves the least room, among the batches of a window of the shuffled order; the fullest batches.</summary>
    [JsonStringEnumMemberName("best-fit")] BestFit,
    /// <summary>Each sequence, in shuffled order, goes into the first open batch with room for it.</summary>
    [JsonStringEnumMemberName("first-fit")] FirstFit,
    /// <summary>Batches are filled in shuffled order, and a sequence that does not fit is cut in two: every batch but the last is full.</summary>
    [JsonStringEnumMemberName("concat")] Concat,
}
