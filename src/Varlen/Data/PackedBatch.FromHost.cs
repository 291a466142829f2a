namespace Varlen.Data;

public sealed partial class PackedBatch
{
    /// <summary>A batch from what a loader assembled; every token has a target. Copies.</summary>
    internal static PackedBatch FromHost(ReadOnlySpan<int> tokens, ReadOnlySpan<int> targets, ReadOnlySpan<int> positions, ReadOnlySpan<int> lengths, ReadOnlySpan<ulong> keys, Device? device)
    {
        Shape shape = [tokens.Length];
        return new PackedBatch(Tensor.From(tokens, shape, device).Keep(), Tensor.From(targets, shape, device).Keep(), Tensor.From(positions, shape, device).Keep(),
            SequenceLayout.FromLengths(lengths).WithDocumentKeys(keys), targets.Length);
    }
}
