namespace Varlen.Data;

/// <summary>Host arrays of one batch, used again and again.</summary>
internal sealed class BatchAssembly
{
    private int[] _tokens = [], _targets = [], _positions = [], _lengths = [];
    private ulong[] _keys = [];
    private int _count, _sequences;

    /// <summary>Where a loader stands once this batch was handed out.</summary>
    public LoaderPosition? After { get; set; }

    /// <summary>Tokens of the batch.</summary>
    public int Tokens => _count;

    /// <summary>Reads the sequences of a batch.</summary>
    public void Fill(TokenStore store, ReadOnlySpan<SequenceChunk> chunks, int capacity)
    {
        Reserve(capacity, chunks.Length);
        (_count, _sequences) = (0, chunks.Length);
        for (int i = 0; i < chunks.Length; i++)
        {
            SequenceChunk chunk = chunks[i];
            (_lengths[i], _keys[i]) = (chunk.Length, chunk.Key);
            store.CopyTokens(chunk.Document, chunk.Start, _tokens.AsSpan(_count, chunk.Length));
            store.CopyTargets(chunk.Document, chunk.Start + 1, _targets.AsSpan(_count, chunk.Length));
            for (int position = 0; position < chunk.Length; position++) _positions[_count + position] = position;
            _count += chunk.Length;
        }
    }

    /// <summary>The batch, whose tensors are made on the calling thread.</summary>
    public PackedBatch ToBatch(Device? device) => PackedBatch.FromHost(_tokens.AsSpan(0, _count), _targets.AsSpan(0, _count), _positions.AsSpan(0, _count),
        _lengths.AsSpan(0, _sequences), _keys.AsSpan(0, _sequences), device);

    private void Reserve(int tokens, int sequences)
    {
        if (_tokens.Length < tokens) (_tokens, _targets, _positions) = (new int[tokens], new int[tokens], new int[tokens]);
        if (_lengths.Length < sequences) (_lengths, _keys) = (new int[sequences * 2], new ulong[sequences * 2]);
    }
}
