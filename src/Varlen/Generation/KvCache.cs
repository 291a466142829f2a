using Varlen.Data;
using Varlen.Models;
using Varlen.Ops;
using F = Varlen.Nn.Functional;

namespace Varlen.Generation;

/// <summary>
/// Keys and values of tokens that a model has read, so that a further token costs one row instead of its whole past. Several sequences go
/// on together, each from where it is. Memory is taken in pages as sequences grow and serves others when they are cleared. On the CPU the
/// results are those of reading everything again, to the bit.
/// </summary>
/// <remarks>Not thread-safe. The model stays its owner's; its weights must not change while the cache holds tokens.</remarks>
public sealed partial class KvCache : IDisposable
{
    /// <summary>Tokens of a page.</summary>
    public const int PageSize = 64;

    private readonly CausalLanguageModel _model;
    private readonly Tensor?[] _keys, _values;
    private readonly int[] _lengths;
    private readonly PageAllocator _pages;

    /// <summary>Starts with empty sequences and no memory.</summary>
    /// <param name="model">The model.</param>
    /// <param name="sequences">How many sequences go on together.</param>
    public KvCache(CausalLanguageModel model, int sequences = 1)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentOutOfRangeException.ThrowIfLessThan(sequences, 1);
        _model = model;
        _lengths = new int[sequences];
        _pages = new PageAllocator(sequences, (model.MaxLength + PageSize - 1) / PageSize);
        (_keys, _values) = (new Tensor?[model.Layers], new Tensor?[model.Layers]);
    }

    /// <summary>Most tokens of a sequence.</summary>
    public int Capacity => _model.MaxLength;

    /// <summary>Tokens of each sequence so far.</summary>
    public ReadOnlySpan<int> Lengths => _lengths;

    /// <summary>Bytes of the pages that there is room for.</summary>
    public long Bytes => 2L * _model.Layers * _pages.Count * PageSize * _model.KeyValueHeads * _model.HeadDim * _model.DType.Size();

    /// <summary>Reads further tokens of some sequences; nothing is kept for a backward pass, and nothing is dropped.</summary>
    /// <param name="tokens">For each sequence its new tokens; a sequence without any is left as it is.</param>
    /// <returns>Logits of what follows each sequence that has new tokens, in order, <c>[such sequences, vocabulary]</c>.</returns>
    /// <exception cref="ArgumentException">No sequence has a new token, one has too many, or an id is not in the vocabulary; nothing has been read.</exception>
    /// <exception cref="NotSupportedException">The model's attention is not causal.</exception>
    public Tensor Advance(params IReadOnlyList<ReadOnlyMemory<int>> tokens)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        if (tokens.Count != _lengths.Length) throw new ArgumentException($"there are tokens for {tokens.Count} sequences, and the cache holds {_lengths.Length}; pass some for each, or none for those that wait", nameof(tokens));
        int[] moving = [.. Enumerable.Range(0, tokens.Count).Where(i => !tokens[i].IsEmpty)];
        if (moving.Length == 0) throw new ArgumentException("there are no tokens for any sequence; pass at least one", nameof(tokens));
        foreach (int i in moving)
            if (tokens[i].Length > Capacity - _lengths[i])
                throw new ArgumentException($"sequence {i} has {_lengths[i]} tokens, and {tokens[i].Length} more pass the model's {Capacity} positions; call Clear and read the last ones again", nameof(tokens));
        using var region = GradMode.NoGrad();
        using var frame = TensorScope.Begin();
        using var step = new Step(this, moving, tokens);
        using var batch = new CachedBatch(step, _model.Device);
        if (_expected is not null && !HasRoom) MakeRoom();
        bool training = _model.IsTraining;
        if (training) _model.Eval();
        try
        {
            Tensor logits = frame.Return(_model.LastLogits(batch));
            foreach (int i in moving) _lengths[i] += tokens[i].Length;
            return logits;
        }
        finally
        {
            if (training) _model.Train();
            // Of a pass that failed, pages go back.
            foreach (int i in moving) _pages.Resize(i, PagesOf(_lengths[i]));
        }
    }

    /// <summary>Forgets all tokens and keeps the memory.</summary>
    public void Clear()
    {
        for (int i = 0; i < _lengths.Length; i++) Clear(i);
    }

    /// <summary>Forgets the tokens of one sequence; its pages serve the others.</summary>
    /// <param name="sequence">Its number.</param>
    public void Clear(int sequence)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)sequence, (uint)_lengths.Length, nameof(sequence));
        _lengths[sequence] = 0;
        _pages.Resize(sequence, 0);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Tensor? tensor in _keys) tensor?.Dispose();
        foreach (Tensor? tensor in _values) tensor?.Dispose();
    }

    private static int PagesOf(int tokens) => (tokens + PageSize - 1) / PageSize;

    // A layer's pages with room for all that are in use; what they hold moves along.
    private Tensor Room(ref Tensor? pages)
    {
        if (pages?.Shape[0] >= _pages.Count) return pages;
        Moves++;
        Tensor larger = Tensor.Empty([_pages.Count, PageSize, _model.KeyValueHeads, _model.HeadDim], _model.DType, _model.Device).Keep();
        if (pages is not null)
        {
            using Tensor begin = larger.Narrow(0, 0, pages.Shape[0]);
            begin.CopyFrom(pages);
            pages.Dispose();
        }
        return pages = larger;
    }

    // Keys and values of new tokens to their places in a layer's pages.
    private (Tensor Keys, Tensor Values) Put(int layer, Tensor key, Tensor value, Tensor places)
    {
        Tensor keys = Room(ref _keys[layer]), values = Room(ref _values[layer]);
        Op.Require<IRowScatterKernels>(nameof(KvCache), key, value, keys, values).ScatterRows(new(key, Rows(keys)), new(value, Rows(values)), places);
        return (keys, values);

        static Tensor Rows(Tensor pages) => pages.View(-1, pages.Shape[2], pages.Shape[3]);
    }

    private static void RequireCausal(AttentionLayer layer)
    {
        if (!layer.Causal) throw new NotSupportedException("a model whose tokens see what comes after them cannot go on from a cache; make it with Causal = true");
    }

    /// <summary>What all layers of one pass share.</summary>
    private sealed class Step : IDisposable
    {
        public Step(KvCache cache, int[] moving, IReadOnlyList<ReadOnlyMemory<int>> tokens)
        {
            (Cache, Sequences) = (cache, [.. moving.Select(i => new TokenSequence(tokens[i], tokens[i]))]);
            Past = [.. moving.Select(i => cache._lengths[i])];
            Layout = SequenceLayout.FromLengths([.. Sequences.Select(sequence => sequence.Tokens.Length)]);
            int[] lengths = [.. moving.Select((sequence, i) => Past[i] + Layout.Lengths[i])];
            for (int i = 0; i < moving.Length; i++) cache._pages.Resize(moving[i], PagesOf(lengths[i]));
            int columns = PagesOf(lengths.Max());
            int[] table = new int[columns * moving.Length], places = new int[Layout.TotalTokens];
            for (int i = 0, row = 0; i < moving.Length; i++)
            {
                ReadOnlySpan<int> pages = cache._pages[moving[i]];
                pages.CopyTo(table.AsSpan(i * columns));
                for (int position = Past[i]; position < lengths[i]; position++) places[row++] = pages[position / PageSize] * PageSize + position % PageSize;
            }
            Pages = new KeyPages(lengths, table);
            Places = Tensor.From(places, [places.Length], cache._model.Device).Keep();
            IsFresh = Past.All(past => past == 0);
        }

        public KvCache Cache { get; }
        public TokenSequence[] Sequences { get; }
        public int[] Past { get; }
        public SequenceLayout Layout { get; }
        public KeyPages Pages { get; }
        public Tensor Places { get; }

        /// <summary>Whether no sequence has a past: then attention needs no cache, and takes the faster kernels.</summary>
        public bool IsFresh { get; }

        public void Dispose()
        {
            Places.Dispose();
            Layout.Dispose();
        }
    }

    // Targets are not read: the tokens stand in for them.
    private sealed class CachedBatch(Step step, Device device) : TokenBatch(step.Sequences, LayoutOf(step.Sequences), null, new CachedAttention(step), device, step.Past);

    private sealed class CachedAttention(Step step) : AttentionStrategy
    {
        public override Tensor Attend(Tensor query, Tensor key, Tensor value, AttentionLayer layer)
        {
            RequireCausal(layer);
            (Tensor keys, Tensor values) = step.Cache.Put(layer.Index, key, value, step.Places);
            return step.IsFresh
                ? F.VarlenAttention(query, key, value, step.Layout, step.Layout, Options(layer))
                : F.VarlenAttention(query, keys, values, step.Layout, step.Pages, Options(layer));
        }
    }
}
