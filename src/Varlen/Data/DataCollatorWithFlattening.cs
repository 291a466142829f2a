namespace Varlen.Data;

/// <summary>
/// HuggingFace's collator of the same name: samples one after the other as a single row, with labels that are not shifted, position ids that
/// restart, and the offsets that variable-length attention takes. An empty sample adds nothing at all, neither label nor offset.
/// </summary>
public sealed record DataCollatorWithFlattening
{
    /// <summary>The label of each sample's first token, which nothing in its sample predicts. Another value than -100 counts in the loss.</summary>
    public int SeparatorId { get; init; } = PackedBatch.IgnoreIndex;

    /// <summary>Flattens samples.</summary>
    /// <param name="inputIds">Token ids of each sample.</param>
    /// <param name="labels">As many labels as ids for each sample, the first of which is replaced; the ids themselves when null.</param>
    /// <exception cref="ArgumentException">Labels and ids differ in number; the message names the sample.</exception>
    public FlattenedSequences Collate(IReadOnlyList<ReadOnlyMemory<int>> inputIds, IReadOnlyList<ReadOnlyMemory<int>>? labels = null)
    {
        ArgumentNullException.ThrowIfNull(inputIds);
        labels ??= inputIds;
        if (labels.Count != inputIds.Count) throw new ArgumentException($"there are labels for {labels.Count} samples and ids for {inputIds.Count}; pass both for each", nameof(labels));
        List<int> ids = [], flatLabels = [], positions = [], offsets = [0];
        int longest = 0;
        for (int sample = 0; sample < inputIds.Count; sample++)
        {
            int length = inputIds[sample].Length;
            if (labels[sample].Length != length) throw new ArgumentException($"sample {sample} has {length} ids and {labels[sample].Length} labels; give each id one label", nameof(labels));
            if (length == 0) continue;
            ids.AddRange(inputIds[sample].Span);
            flatLabels.Add(SeparatorId);
            flatLabels.AddRange(labels[sample].Span[1..]);
            for (int i = 0; i < length; i++) positions.Add(i);
            offsets.Add(ids.Count);
            longest = Math.Max(longest, length);
        }
        return new(ids.ToArray(), flatLabels.ToArray(), positions.ToArray(), offsets.ToArray(), longest);
    }
}

/// <summary>What <see cref="DataCollatorWithFlattening"/> gives: the fields of a HuggingFace batch of one row.</summary>
/// <param name="InputIds"><c>input_ids</c>.</param>
/// <param name="Labels"><c>labels</c>: each token's own id, to be shifted by the loss; the separator for a sample's first token.</param>
/// <param name="PositionIds"><c>position_ids</c>, restarting at 0.</param>
/// <param name="CuSeqLens"><c>cu_seq_lens_q</c> and <c>cu_seq_lens_k</c>.</param>
/// <param name="MaxLength"><c>max_length_q</c> and <c>max_length_k</c>.</param>
public sealed record FlattenedSequences(ReadOnlyMemory<int> InputIds, ReadOnlyMemory<int> Labels, ReadOnlyMemory<int> PositionIds, ReadOnlyMemory<int> CuSeqLens, int MaxLength)
{
    /// <summary>The packed batch with the shifted labels as targets: each token's target is the label of the token after it.</summary>
    /// <param name="device">Device; the CPU when null.</param>
    /// <exception cref="ArgumentException">An id is negative; the message names it.</exception>
    public PackedBatch ToBatch(Device? device = null)
    {
        // One more than needed, which no sequence reaches when there is no label at all.
        int[] targets = [.. Labels.Span[Math.Min(1, Labels.Length)..], PackedBatch.IgnoreIndex];
        var sequences = new TokenSequence[CuSeqLens.Length - 1];
        for (int i = 0; i < sequences.Length; i++)
        {
            Range range = CuSeqLens.Span[i]..CuSeqLens.Span[i + 1];
            sequences[i] = new TokenSequence(InputIds[range], targets.AsMemory(range));
        }
        return PackedBatch.Create(sequences, device);
    }
}
