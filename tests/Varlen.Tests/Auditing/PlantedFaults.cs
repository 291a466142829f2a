using Varlen.Data;
using Varlen.Nn;
using Varlen.Ops;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Auditing;

/// <summary>Batches that are wrong in one way each, behind the interfaces that right ones have.</summary>
internal static class PlantedFaults
{
    /// <summary>A collator from a function.</summary>
    public sealed class Collator(Func<IReadOnlyList<TokenSequence>, Device?, TokenBatch> collate) : ICollator
    {
        public TokenBatch Collate(IReadOnlyList<TokenSequence> sequences, Device? device = null) => collate(sequences, device);
    }

    /// <summary>Documents whose ends attention sees one token too late.</summary>
    public static ICollator BoundaryOffByOne => WithAttention(layout => new PackedAttention(Shifted(layout)));

    /// <summary>No boundaries at all.</summary>
    public static ICollator OneDocument => WithAttention(layout => new PackedAttention(SequenceLayout.FromLengths([layout.TotalTokens])));

    /// <summary>A causal mask that shows one token too many.</summary>
    public static ICollator CausalOffByOne => WithAttention(layout => new ChangedAttention(layout, (_, q, k, v, layer) => F.VarlenAttention(q, k, v, layout, new AttentionWindow(-1, layer.Causal ? 1 : -1))));

    /// <summary>Adds zero times the values of all rows: nothing, until one of them is not finite.</summary>
    public static ICollator NotFiniteLeaks => WithAttention(layout => new ChangedAttention(layout, (attended, _, _, v, _) => attended + v.Sum([0]).View(1, v.Shape[1], v.Shape[2]) * 0));

    /// <summary>Right results, but the gradient of every row reaches the values of all.</summary>
    public static ICollator GradientLeaks => WithAttention(layout => new ChangedAttention(layout, (attended, _, _, v, _) =>
    {
        Tensor all = v.Sum([0]).View(1, v.Shape[1], v.Shape[2]);
        return attended + (all - all.Detach());
    }));

    /// <summary>A document's results depend, by rounding alone, on where it stands.</summary>
    public static ICollator OrderRounds => WithAttention(layout => new ChangedAttention(layout, (attended, _, _, _, _) => attended * (1 + 1e-7 * layout.Lengths[0])));

    /// <summary>Positions that count through the batch.</summary>
    public static ICollator PositionsNotReset => new Collator((sequences, device) =>
    {
        SequenceLayout layout = LayoutOf(sequences);
        return new Batch(sequences, layout, null, new PackedAttention(layout), device, layout.Offsets);
    });

    /// <summary>Rows padded without a mask.</summary>
    public static ICollator PaddingSeen(int length) => new Collator((sequences, device) =>
    {
        SequenceLayout layout = LayoutOf(sequences);
        return new Batch(sequences, layout, PaddedIndices.PadRight(layout, length), new UnmaskedAttention(layout.Count, length), device);
    });

    /// <summary>Another target for the last token of each document.</summary>
    private static Collator LastTarget(Func<TokenSequence, TokenSequence?, int> target) => new Collator((sequences, device) => PackedBatch.Create([.. sequences.Select((sequence, i) =>
    {
        int[] targets = sequence.Targets.ToArray();
        targets[^1] = target(sequence, i + 1 < sequences.Count ? sequences[i + 1] : null);
        return sequence with { Targets = targets };
    })], device));

    /// <summary>The last target is the first token of the next document.</summary>
    public static ICollator LabelCrosses => LastTarget((sequence, next) => next?.Tokens.Span[0] ?? sequence.Targets.Span[^1]);

    /// <summary>Targets that are ignored count as id 0.</summary>
    public static ICollator IgnoredCounts => new Collator((sequences, device) =>
        PackedBatch.Create([.. sequences.Select(sequence => sequence with { Targets = sequence.Targets.ToArray().Select(id => id == PackedBatch.IgnoreIndex ? 0 : id).ToArray() })], device));

    /// <summary>The last document is lost.</summary>
    public static ICollator Drops => new Collator((sequences, device) => PackedBatch.Create([.. sequences.SkipLast(sequences.Count > 1 ? 1 : 0)], device));

    /// <summary>The first document is there twice.</summary>
    public static ICollator Doubles => new Collator((sequences, device) => PackedBatch.Create([sequences[0], .. sequences], device));

    private static Collator WithAttention(Func<SequenceLayout, AttentionStrategy> make) => new Collator((sequences, device) =>
    {
        SequenceLayout layout = LayoutOf(sequences);
        return new Batch(sequences, layout, null, make(layout), device);
    });

    private static SequenceLayout LayoutOf(IReadOnlyList<TokenSequence> sequences) => SequenceLayout.FromLengths([.. sequences.Select(sequence => sequence.Tokens.Length)]);

    private static SequenceLayout Shifted(SequenceLayout layout)
    {
        int[] lengths = layout.Lengths.ToArray();
        if (lengths.Length > 1) (lengths[0], lengths[1]) = (lengths[0] + 1, lengths[1] - 1);
        return SequenceLayout.FromLengths(lengths);
    }

    private sealed class Batch(IReadOnlyList<TokenSequence> sequences, SequenceLayout layout, PaddedIndices? padding, AttentionStrategy attention, Device? device, ReadOnlySpan<int> firstPositions = default)
        : TokenBatch(sequences, layout, padding, attention, device, firstPositions);

    private sealed class ChangedAttention(SequenceLayout layout, Func<Tensor, Tensor, Tensor, Tensor, AttentionLayer, Tensor> change) : AttentionStrategy
    {
        public override Tensor Attend(Tensor query, Tensor key, Tensor value, AttentionLayer layer)
            => change(F.VarlenAttention(query, key, value, layout, layout, new AttentionOptions { Window = layer.Window, Scale = layer.Scale }), query, key, value, layer);
    }

    private sealed class UnmaskedAttention(int batch, int length) : AttentionStrategy
    {
        public override Tensor Attend(Tensor query, Tensor key, Tensor value, AttentionLayer layer)
        {
            Tensor Dense(Tensor rows) => rows.View(batch, length, rows.Shape[1], rows.Shape[2]).Transpose(1, 2);
            return F.ScaledDotProductAttention(Dense(query), Dense(key), Dense(value), isCausal: layer.Causal, scale: layer.Scale).Transpose(1, 2).Contiguous().View(query.Shape.Dimensions);
        }
    }
}
