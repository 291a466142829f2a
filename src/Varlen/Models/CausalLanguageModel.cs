using Varlen.Data;
using Varlen.Nn;

namespace Varlen.Models;

/// <summary>A model that predicts each token's successor: packed batch to logits <c>[tokens, vocabulary]</c>.</summary>
public abstract class CausalLanguageModel : Module<PackedBatch, Tensor>
{
    /// <summary>Number of token ids.</summary>
    public abstract int VocabularySize { get; }

    /// <summary>Longest sequence.</summary>
    public abstract int MaxLength { get; }

    /// <summary>Sum of the cross entropies of the batch's targets, in nats; divide by <see cref="PackedBatch.TargetCount"/>. Logits never exist beside their gradient.</summary>
    public abstract Tensor LossSum(PackedBatch batch);
}
