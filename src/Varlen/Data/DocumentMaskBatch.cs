using Varlen.Ops;
using F = Varlen.Nn.Functional;

namespace Varlen.Data;

/// <summary>
/// Sequences one after the other as a single long one, with a dense mask over all pairs of tokens that lets each see its own document: time
/// and memory grow with the square of the tokens. What variable-length attention is measured against.
/// </summary>
public sealed class DocumentMaskBatch : TokenBatch
{
    private DocumentMaskBatch(IReadOnlyList<TokenSequence> sequences, SequenceLayout layout, Device? device)
        : base(sequences, layout, null, new DocumentMaskAttention(layout, device), device)
    {
    }

    /// <summary>Joins sequences.</summary>
    /// <param name="sequences">Token ids and targets of equal length; at most 46,340 tokens in all, so that the mask can be indexed.</param>
    /// <param name="device">Device; the CPU when null.</param>
    /// <exception cref="ArgumentException">A sequence's targets differ in number from its tokens, an id is negative, or there are too many tokens.</exception>
    public static DocumentMaskBatch Create(IReadOnlyList<TokenSequence> sequences, Device? device = null)
        => new(sequences, LayoutOf(sequences), device);
}

/// <summary>Scaled dot-product attention over all rows as one sequence, under a dense document mask.</summary>
/// <remarks>Dropout draws by a row's place in the batch here, not by its place in its document.</remarks>
public sealed class DocumentMaskAttention : AttentionStrategy
{
    private readonly Tensor _mask;

    /// <summary>Makes the mask, <c>[tokens, tokens]</c>.</summary>
    /// <param name="layout">The documents.</param>
    /// <param name="device">Device; the CPU when null.</param>
    /// <exception cref="ArgumentException">The mask would have more than 2^31 - 1 elements.</exception>
    public DocumentMaskAttention(SequenceLayout layout, Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(layout);
        int tokens = layout.TotalTokens;
        if ((long)tokens * tokens > Array.MaxLength)
            throw new ArgumentException($"a dense mask over {tokens} tokens has more than {Array.MaxLength} elements; use a packed batch, or a smaller one", nameof(layout));
        var visible = new bool[tokens * tokens];
        for (int i = 0; i < layout.Count; i++)
        {
            (int start, int length) = layout[i];
            for (int row = start; row < start + length; row++) visible.AsSpan(row * tokens + start, length).Fill(true);
        }
        _mask = Tensor.From(visible, [tokens, tokens], device).Keep();
    }

    /// <inheritdoc/>
    public override Tensor Attend(Tensor query, Tensor key, Tensor value, AttentionLayer layer)
    {
        ArgumentNullException.ThrowIfNull(query);
        Tensor attended = F.ScaledDotProductAttention(Dense(query, nameof(query)), Dense(key, nameof(key)), Dense(value, nameof(value)), _mask, Options(layer, AttentionAlignment.TopLeft));
        return attended.Transpose(1, 2).Contiguous().View(query.Shape.Dimensions);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _mask.Dispose();
        base.Dispose(disposing);
    }

    private Tensor Dense(Tensor rows, string parameter)
    {
        ArgumentNullException.ThrowIfNull(rows, parameter);
        Op.Check(rows.Shape.Rank == 3 && rows.Shape[0] == _mask.Shape[0], nameof(Attend), parameter, $"{parameter} is {rows.Shape}; expected [{_mask.Shape[0]}, heads, headDim]");
        return rows.View(1, rows.Shape[0], rows.Shape[1], rows.Shape[2]).Transpose(1, 2);
    }
}
