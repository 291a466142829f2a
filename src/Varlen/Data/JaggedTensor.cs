using Varlen.Nn;
using Varlen.Ops;

namespace Varlen;

/// <summary>
/// A batch of tensors whose first dimension differs, stored without padding: the packed values and where each item lies in them. The
/// job of PyTorch's jagged NestedTensor.
/// </summary>
/// <remarks>A view of its values and its layout: it owns neither. Conversions are differentiable.</remarks>
public sealed class JaggedTensor : ITensorBundle
{
    /// <summary>Joins packed values with their layout.</summary>
    /// <param name="values"><c>[tokens, ...]</c>.</param>
    /// <param name="layout">Covers exactly the tokens.</param>
    /// <exception cref="ArgumentException">The layout's total differs from the number of tokens.</exception>
    public JaggedTensor(Tensor values, SequenceLayout layout)
    {
        ArgumentNullException.ThrowIfNull(values);
        ArgumentNullException.ThrowIfNull(layout);
        Op.Check(values.Shape.Rank >= 1 && values.Shape[0] == layout.TotalTokens, nameof(JaggedTensor), nameof(values),
            $"values are {values.Shape}, the layout covers {layout.TotalTokens} tokens");
        Values = values;
        Layout = layout;
    }

    /// <summary>The items one after the other, <c>[tokens, ...]</c>.</summary>
    public Tensor Values { get; }

    /// <summary>Where the items lie.</summary>
    public SequenceLayout Layout { get; }

    /// <summary>Number of items.</summary>
    public int Count => Layout.Count;

    /// <summary>One item, <c>[length, ...]</c>, as a view.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such item.</exception>
    public Tensor this[int index]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfNegative(index);
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, Count);
            return Values.Narrow(0, Layout.CuSeqlens[index], Layout.Lengths[index]);
        }
    }

    IEnumerable<Tensor?> ITensorBundle.Tensors => [Values];

    /// <summary>Packs items, each <c>[length, ...]</c>, of equal type and feature sizes.</summary>
    /// <exception cref="ArgumentException">There are none, or they do not fit together.</exception>
    public static JaggedTensor FromTensors(params ReadOnlySpan<Tensor> items) => new(Functional.Concat(items), SequenceLayout.FromTensors(items));

    /// <summary>Packs the real tokens of a padded batch.</summary>
    /// <param name="padded"><c>[batch, length, ...]</c>; item i's tokens come first in its row.</param>
    /// <param name="layout">As many sequences as rows, none longer than a row.</param>
    /// <exception cref="ArgumentException">The layout does not fit the batch.</exception>
    public static JaggedTensor FromPadded(Tensor padded, SequenceLayout layout)
    {
        ArgumentNullException.ThrowIfNull(padded);
        ArgumentNullException.ThrowIfNull(layout);
        Op.Check(padded.Shape.Rank >= 2, nameof(FromPadded), nameof(padded), $"padded is {padded.Shape}; expected [batch, length, ...]");
        Op.Check(padded.Shape[0] == layout.Count, nameof(FromPadded), nameof(layout), $"{layout.Count} sequences for {padded.Shape[0]} rows");
        return FromPadded(padded, layout, PaddedIndices.PadRight(layout, padded.Shape[1]));
    }

    /// <summary>Packs the real tokens of a padded batch that may stand anywhere in their rows.</summary>
    /// <param name="padded"><c>[batch, length, ...]</c>.</param>
    /// <param name="layout">The sequences of real tokens.</param>
    /// <param name="indices">Where they stand; both come from <see cref="SequenceLayout.FromPaddingMask(Tensor, PaddingPolicy)"/>.</param>
    /// <exception cref="ArgumentException">The indices do not fit the batch or the layout.</exception>
    public static JaggedTensor FromPadded(Tensor padded, SequenceLayout layout, PaddedIndices indices)
    {
        ArgumentNullException.ThrowIfNull(padded);
        ArgumentNullException.ThrowIfNull(layout);
        ArgumentNullException.ThrowIfNull(indices);
        Op.Check(padded.Shape.Rank >= 2 && padded.Shape[0] == indices.Batch && padded.Shape[1] == indices.SequenceLength, nameof(FromPadded), nameof(padded),
            $"padded is {padded.Shape}; the indices are for [{indices.Batch}, {indices.SequenceLength}, ...]");
        Op.Check(indices.Slots.Length == layout.TotalTokens, nameof(FromPadded), nameof(indices), $"the indices place {indices.Slots.Length} tokens, the layout has {layout.TotalTokens}");
        using Tensor slots = indices.SlotsOn(padded.Device), tokens = indices.TokensOn(padded.Device);
        Tensor values = RowGather.Run(nameof(FromPadded), padded, slots, tokens, [layout.TotalTokens, .. padded.Shape.Dimensions[2..]], 0);
        return new JaggedTensor(values, layout);
    }

    /// <summary>The items as rows of equal length.</summary>
    /// <param name="fill">Value of the padding.</param>
    /// <param name="length">Length of the rows; the longest item's when null.</param>
    /// <returns><c>[count, length, ...]</c>.</returns>
    /// <exception cref="ArgumentException"><paramref name="length"/> is less than the longest item.</exception>
    public Tensor ToPadded(double fill = 0, int? length = null) => ToPadded(PaddedIndices.PadRight(Layout, length ?? Layout.MaxLength), fill);

    /// <summary>The items' tokens at given places of padded rows.</summary>
    /// <param name="indices">Where the tokens go.</param>
    /// <param name="fill">Value of the padding.</param>
    /// <returns><c>[batch, length, ...]</c> with the indices' sizes.</returns>
    /// <exception cref="ArgumentException">The indices place another number of tokens.</exception>
    public Tensor ToPadded(PaddedIndices indices, double fill = 0)
    {
        ArgumentNullException.ThrowIfNull(indices);
        Op.Check(indices.Slots.Length == Layout.TotalTokens, nameof(ToPadded), nameof(indices), $"the indices place {indices.Slots.Length} tokens, the layout has {Layout.TotalTokens}");
        using Tensor slots = indices.SlotsOn(Values.Device), tokens = indices.TokensOn(Values.Device);
        return RowGather.Run(nameof(ToPadded), Values, tokens, slots, [indices.Batch, indices.SequenceLength, .. Values.Shape.Dimensions[1..]], fill);
    }

    /// <summary>All items as views.</summary>
    public Tensor[] Unbind()
    {
        var items = new Tensor[Count];
        for (int i = 0; i < items.Length; i++) items[i] = this[i];
        return items;
    }
}
