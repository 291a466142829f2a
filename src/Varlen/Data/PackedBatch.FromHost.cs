namespace Varlen.Data;

public sealed partial class PackedBatch
{
    private PackedBatch(ReadOnlySpan<int> tokens, ReadOnlySpan<int> targets, ReadOnlySpan<int> positions, SequenceLayout layout, Device? device)
        : base(tokens, targets, positions, layout, new PackedAttention(layout), device)
    {
    }

    /// <summary>A batch from what a loader assembled. Copies.</summary>
    internal static PackedBatch FromHost(ReadOnlySpan<int> tokens, ReadOnlySpan<int> targets, ReadOnlySpan<int> positions, ReadOnlySpan<int> lengths, ReadOnlySpan<ulong> keys, Device? device)
        => new(tokens, targets, positions, SequenceLayout.FromLengths(lengths).WithDocumentKeys(keys), device);
}
