using Varlen.Data;

namespace Varlen.Auditing;

/// <summary>What the layers of a model ask of attention, and the shapes that they bring.</summary>
/// <param name="Layer">The request.</param>
/// <param name="Heads">Query heads.</param>
/// <param name="KeyHeads">Key and value heads.</param>
/// <param name="HeadDim">Features of a head.</param>
internal readonly record struct AskedAttention(AttentionLayer Layer, int Heads, int KeyHeads, int HeadDim)
{
    /// <summary>Asks a model, by a batch of one sequence.</summary>
    public static IReadOnlyList<AskedAttention> Of(AuditedModel model, TokenSequence sequence)
    {
        using GradMode.Region region = GradMode.NoGrad();
        using TensorScope scope = TensorScope.Begin();
        using var batch = new ObservedBatch(sequence, model.Device);
        model.Model.Forward(batch);
        return batch.Asked;
    }

    private sealed class ObservedBatch : TokenBatch
    {
        public ObservedBatch(TokenSequence sequence, Device device) : this([sequence], SequenceLayout.FromLengths([sequence.Tokens.Length]), [], device)
        {
        }

        private ObservedBatch(TokenSequence[] sequences, SequenceLayout layout, List<AskedAttention> asked, Device device) : base(sequences, layout, null, new ObservedAttention(layout, asked), device)
            => Asked = asked;

        public IReadOnlyList<AskedAttention> Asked { get; }
    }

    private sealed class ObservedAttention(SequenceLayout layout, List<AskedAttention> asked) : AttentionStrategy
    {
        private readonly PackedAttention _packed = new(layout);

        public override Tensor Attend(Tensor query, Tensor key, Tensor value, AttentionLayer layer)
        {
            asked.Add(new(layer with { Index = 0 }, query.Shape[1], key.Shape[1], query.Shape[2]));
            return _packed.Attend(query, key, value, layer);
        }

        protected override void Dispose(bool disposing)
        {
            _packed.Dispose();
            base.Dispose(disposing);
        }
    }
}
