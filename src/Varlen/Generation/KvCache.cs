using Varlen.Data;
using Varlen.Models;
using F = Varlen.Nn.Functional;

namespace Varlen.Generation;

/// <summary>
/// Keys and values of tokens that a model has read, so that a further token costs one row instead of its whole past. Several sequences go
/// on together, each from where it is. On the CPU the results are those of reading everything again, to the bit.
/// </summary>
/// <remarks>Not thread-safe. The model stays its owner's; its weights must not change while the cache holds tokens.</remarks>
public sealed class KvCache : IDisposable
{
    private readonly CausalLanguageModel _model;
    private readonly Tensor[] _keys, _values;
    private readonly int[] _lengths;

    /// <summary>Makes room for the model's longest sequence.</summary>
    /// <param name="model">The model.</param>
    /// <param name="sequences">How many sequences go on together.</param>
    public KvCache(CausalLanguageModel model, int sequences = 1)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentOutOfRangeException.ThrowIfLessThan(sequences, 1);
        _model = model;
        _lengths = new int[sequences];
        Shape shape = [sequences, model.MaxLength, model.KeyValueHeads, model.HeadDim];
        _keys = new Tensor[model.Layers];
        _values = new Tensor[model.Layers];
        for (int layer = 0; layer < model.Layers; layer++)
        {
            _keys[layer] = Tensor.Empty(shape, model.DType, model.Device).Keep();
            _values[layer] = Tensor.Empty(shape, model.DType, model.Device).Keep();
        }
    }

    /// <summary>Most tokens of a sequence.</summary>
    public int Capacity => _model.MaxLength;

    /// <summary>Tokens of each sequence so far.</summary>
    public ReadOnlySpan<int> Lengths => _lengths;

    /// <summary>Reads further tokens of each sequence; nothing is kept for a backward pass, and nothing is dropped.</summary>
    /// <param name="tokens">For each sequence at least one token.</param>
    /// <returns>Logits of what follows each sequence, <c>[sequences, vocabulary]</c>.</returns>
    /// <exception cref="ArgumentException">A sequence has no new token or too many, or an id is not in the vocabulary; nothing has been read.</exception>
    /// <exception cref="NotSupportedException">The model's attention is not causal.</exception>
    public Tensor Advance(params IReadOnlyList<ReadOnlyMemory<int>> tokens)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        if (tokens.Count != _lengths.Length) throw new ArgumentException($"there are tokens for {tokens.Count} sequences, and the cache holds {_lengths.Length}; pass some for each", nameof(tokens));
        for (int i = 0; i < _lengths.Length; i++)
        {
            if (tokens[i].IsEmpty) throw new ArgumentException($"there are no tokens for sequence {i}; pass at least one", nameof(tokens));
            if (tokens[i].Length > Capacity - _lengths[i])
                throw new ArgumentException($"sequence {i} has {_lengths[i]} tokens, and {tokens[i].Length} more pass the model's {Capacity} positions; call Clear and read the last ones again", nameof(tokens));
        }
        using var region = GradMode.NoGrad();
        using var frame = TensorScope.Begin();
        using var batch = new CachedBatch(this, tokens, _model.Device);
        bool training = _model.IsTraining;
        if (training) _model.Eval();
        try
        {
            Tensor logits = frame.Return(_model.LastLogits(batch));
            for (int i = 0; i < _lengths.Length; i++) _lengths[i] += tokens[i].Length;
            return logits;
        }
        finally
        {
            if (training) _model.Train();
        }
    }

    /// <summary>Forgets all tokens and keeps the memory.</summary>
    public void Clear() => Array.Clear(_lengths);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Tensor tensor in _keys) tensor.Dispose();
        foreach (Tensor tensor in _values) tensor.Dispose();
    }

    private sealed class CachedBatch(KvCache cache, IReadOnlyList<ReadOnlyMemory<int>> tokens, Device device)
        : TokenBatch(Sequences(tokens), LayoutOf(Sequences(tokens)), null, new CachedAttention(cache, tokens), device, cache._lengths)
    {
        // Targets are not read: the tokens stand in for them.
        private static TokenSequence[] Sequences(IReadOnlyList<ReadOnlyMemory<int>> tokens) => [.. tokens.Select(ids => new TokenSequence(ids, ids))];
    }

    private sealed class CachedAttention(KvCache cache, IReadOnlyList<ReadOnlyMemory<int>> tokens) : AttentionStrategy
    {
        private readonly SequenceLayout _layout = SequenceLayout.FromLengths([.. tokens.Select(ids => ids.Length)]);
        private readonly int[] _keyLengths = [.. tokens.Select((ids, i) => cache._lengths[i] + ids.Length)];

        public override Tensor Attend(Tensor query, Tensor key, Tensor value, AttentionLayer layer)
        {
            if (!layer.Causal) throw new NotSupportedException("a model whose tokens see what comes after them cannot go on from a cache; make it with Causal = true");
            (Tensor keys, Tensor values) = (cache._keys[layer.Index], cache._values[layer.Index]);
            for (int i = 0; i < _layout.Count; i++)
            {
                Put(key, keys, i);
                Put(value, values, i);
            }
            return F.VarlenAttention(query, keys, values, _layout, KeyPages.Slots(_keyLengths), Options(layer));
        }

        private void Put(Tensor rows, Tensor slots, int sequence)
        {
            (int start, int length) = _layout[sequence];
            Tensor place = slots.View(-1, slots.Shape[2], slots.Shape[3]).Narrow(0, sequence * cache.Capacity + cache._lengths[sequence], length);
            place.CopyFrom(rows.Narrow(0, start, length));
        }
    }
}
