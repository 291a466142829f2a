using System.Text.Json.Serialization;

namespace Varlen.Training;

/// <summary>How well a model predicts text.</summary>
/// <param name="Loss">Mean cross entropy of a target, in nats.</param>
/// <param name="Tokens">Targets that count: of examples those of completions and of what assistants say.</param>
/// <param name="Bytes">Bytes of text that the targets stand for; the end of text counts none.</param>
/// <param name="Documents">Documents they are from.</param>
public sealed record EvaluationResult(double Loss, long Tokens, long Bytes, int Documents)
{
    /// <summary>Bits that the model needs per byte of text: comparable between tokenizers, unlike the loss. Not finite when the targets stand for no text.</summary>
    [JsonIgnore]
    public double BitsPerByte => Loss * Tokens / Math.Log(2) / Bytes;
}
