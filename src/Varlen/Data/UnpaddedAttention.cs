using Varlen.Ops;
using F = Varlen.Nn.Functional;

namespace Varlen.Data;

/// <summary>
/// Variable-length attention inside of a padded model: each layer gathers the real rows of its queries, keys and values, attends without
/// padding, and puts the result back. What <c>attn_implementation="flash_attention_2"</c> does with an attention mask. Padding's rows are 0.
/// </summary>
public sealed class UnpaddedAttention : AttentionStrategy
{
    private readonly SequenceLayout _layout;
    private readonly int _rows;
    // Null where nothing is padded: the slot of each token, and the token of each slot.
    private readonly Tensor? _slots, _tokens;

    /// <summary>Makes the indices.</summary>
    /// <param name="layout">The sequences of real tokens; not owned.</param>
    /// <param name="padding">Where they stand in the padded rows.</param>
    /// <param name="device">Device; the CPU when null.</param>
    /// <exception cref="ArgumentException">Layout and padding are of different numbers of tokens.</exception>
    public UnpaddedAttention(SequenceLayout layout, PaddedIndices padding, Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(layout);
        ArgumentNullException.ThrowIfNull(padding);
        Op.Check(padding.Slots.Length == layout.TotalTokens, nameof(UnpaddedAttention), nameof(padding), $"the indices place {padding.Slots.Length} tokens, the layout has {layout.TotalTokens}");
        (_layout, _rows) = (layout, padding.Batch * padding.SequenceLength);
        if (layout.TotalTokens == _rows) return;
        _slots = padding.SlotsOn(device).Keep();
        _tokens = padding.TokensOn(device).Keep();
    }

    /// <inheritdoc/>
    public override Tensor Attend(Tensor query, Tensor key, Tensor value, AttentionLayer layer)
    {
        Tensor attended = F.VarlenAttention(Unpad(query, nameof(query)), Unpad(key, nameof(key)), Unpad(value, nameof(value)), _layout, _layout, Options(layer));
        return _slots is null ? attended : RowGather.Run(nameof(Attend), attended, _tokens!, _slots, [_rows, .. attended.Shape.Dimensions[1..]], 0);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _slots?.Dispose();
        _tokens?.Dispose();
        base.Dispose(disposing);
    }

    private Tensor Unpad(Tensor rows, string parameter)
    {
        ArgumentNullException.ThrowIfNull(rows, parameter);
        Op.Check(rows.Shape.Rank == 3 && rows.Shape[0] == _rows, nameof(Attend), parameter, $"{parameter} is {rows.Shape}; expected [{_rows}, heads, headDim]");
        return _slots is null ? rows : RowGather.Run(nameof(Attend), rows, _slots, _tokens!, [_layout.TotalTokens, .. rows.Shape.Dimensions[1..]], 0);
    }
}
