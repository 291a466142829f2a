using Varlen.Data;
using Varlen.Models;
using Varlen.Ops;

namespace Varlen.Generation;

public sealed partial class KvCache
{
    // Bytes of pages that room is made for ahead of need, whatever is in use; beyond, as much again as is in use.
    private const long ReadilyReserved = 1L << 30;

    private int[]? _expected;

    internal CausalLanguageModel Model => _model;

    /// <summary>Raised when memory has moved: what knew addresses must ask again.</summary>
    internal int Moves { get; private set; }

    /// <summary>Says how long a sequence may become, so that room can be made at once where pages have to be taken.</summary>
    internal void Expect(int sequence, int tokens) => (_expected ??= new int[_lengths.Length])[sequence] = tokens;

    /// <summary>Takes pages for one more token of each row's sequence.</summary>
    /// <returns>Tokens of the longest with it.</returns>
    internal int Extend(ReadOnlySpan<SampledRow> rows)
    {
        int longest = 0;
        foreach (SampledRow row in rows)
        {
            int length = _lengths[row.Slot] + 1;
            if (length > Capacity) throw new ArgumentException($"sequence {row.Slot} has all of the model's {Capacity} positions; call Clear and read the last ones again", nameof(rows));
            _pages.Resize(row.Slot, PagesOf(length));
            longest = Math.Max(longest, length);
        }
        return longest;
    }

    /// <summary>Counts the tokens that <see cref="Extend"/> made room for.</summary>
    internal void Commit(ReadOnlySpan<SampledRow> rows)
    {
        foreach (SampledRow row in rows) _lengths[row.Slot]++;
    }

    /// <summary>Gives back pages of tokens that were not read.</summary>
    internal void Settle(ReadOnlySpan<SampledRow> rows)
    {
        foreach (SampledRow row in rows) _pages.Resize(row.Slot, PagesOf(_lengths[row.Slot]));
    }

    /// <summary>The pages of a sequence, in order.</summary>
    internal ReadOnlySpan<int> Pages(int sequence) => _pages[sequence];

    /// <summary>Whether all pages have memory.</summary>
    internal bool HasRoom => _keys[0]?.Shape[0] >= _pages.Count;

    /// <summary>Makes room for all pages, and for those that sequences are expected to need, within reason.</summary>
    internal void MakeRoom()
    {
        long expected = 0, page = Math.Max(1, 2L * _model.Layers * PageSize * _model.KeyValueHeads * _model.HeadDim * _model.DType.Size());
        for (int i = 0; i < _lengths.Length; i++)
            if (_pages[i].Length is > 0 and int pages) expected += Math.Max(pages, PagesOf(_expected?[i] ?? 0));
        _pages.Reserve((int)Math.Min(expected, Math.Max(2L * _pages.InUse, ReadilyReserved / page)));
        for (int layer = 0; layer < _keys.Length; layer++)
        {
            Room(ref _keys[layer]);
            Room(ref _values[layer]);
        }
    }

    /// <summary>Attention of rows that are one more token each of their sequences: keys and values go to their places first.</summary>
    internal sealed class DecodeAttention(KvCache cache, Tensor places, DecodeTable table) : AttentionStrategy
    {
        public override Tensor Attend(Tensor query, Tensor key, Tensor value, AttentionLayer layer)
        {
            RequireCausal(layer);
            (Tensor keys, Tensor values) = cache.Put(layer.Index, key, value, places);
            return Decoding.Run(query, keys.View(-1, keys.Shape[2], keys.Shape[3]), values.View(-1, keys.Shape[2], keys.Shape[3]), table, Options(layer));
        }
    }
}
