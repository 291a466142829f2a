using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Varlen.Text;

/// <summary>Two tokens that become one.</summary>
internal readonly record struct BytePairMerge(int Left, int Right, int Result);

/// <summary>The merge loop: of all neighbours that merge, those of the lowest rank do first, and of several of that rank the leftmost.</summary>
internal sealed class BytePairMerges
{
    private const int Short = 32;
    private const int Slots = 16;
    // Words come again and again. Entries never change, so threads may replace them under each other.
    private readonly Known?[] _known = new Known?[1 << Slots];
    private readonly Dictionary<byte[], int>? _whole;
    private readonly bool _hasAllBytes;
    private readonly Dictionary<ulong, (int Rank, int Result)> _merges;
    private readonly int[] _byteIds;

    /// <param name="byteIds">The id of each byte: [256]; -1 for bytes that no UTF-8 text has, which then become U+FFFD.</param>
    /// <param name="merges">In the order of their rank; no pair twice.</param>
    /// <param name="whole">The model whose tokens whole words become at once; none when null.</param>
    public BytePairMerges(int[] byteIds, ReadOnlySpan<BytePairMerge> merges, BytePairModel? whole = null)
    {
        _byteIds = byteIds;
        _hasAllBytes = Array.IndexOf(byteIds, -1) < 0;
        _merges = new(merges.Length);
        for (int rank = 0; rank < merges.Length; rank++) _merges.Add(Key(merges[rank].Left, merges[rank].Right), (rank, merges[rank].Result));
        if (whole is null) return;
        _whole = new(new BytesComparer());
        for (int id = 0; id < whole.Tokens.Length; id++)
            if (whole.Tokens[id].Length > 0 && !whole.Added.ContainsKey(id)) _whole.TryAdd(whole.Tokens[id], id);
    }

    public static ulong Key(int left, int right) => ((ulong)(uint)left << 32) | (uint)right;

    /// <summary>Appends the ids of one word.</summary>
    public void Encode(ReadOnlySpan<byte> word, List<int> ids)
    {
        if (!_hasAllBytes) word = WithAllBytes(word);
        if (word.Length == 1) ids.Add(_byteIds[word[0]]);
        else if (word.Length <= Short) EncodeKnown(word, ids);
        else if (!EncodeWhole(word, ids)) EncodeLong(word, ids);
    }

    private int RankOf(int left, int right) => _merges.TryGetValue(Key(left, right), out (int Rank, int Result) merge) ? merge.Rank : int.MaxValue;

    private void EncodeKnown(ReadOnlySpan<byte> word, List<int> ids)
    {
        ref Known? slot = ref _known[Hash(word) >> (64 - Slots)];
        if (slot is { } known && word.SequenceEqual(known.Word))
        {
            if (known.Ids.Length == 1) ids.Add(known.Ids[0]);
            else ids.AddRange(known.Ids.AsSpan());
            return;
        }
        int start = ids.Count;
        if (!EncodeWhole(word, ids)) EncodeShort(word, ids);
        slot = new(word.ToArray(), [.. CollectionsMarshal.AsSpan(ids)[start..]]);
    }

    private bool EncodeWhole(ReadOnlySpan<byte> word, List<int> ids)
    {
        if (_whole is null || !_whole.GetAlternateLookup<ReadOnlySpan<byte>>().TryGetValue(word, out int id)) return false;
        ids.Add(id);
        return true;
    }

    // Its bits need not be hard to guess: a collision only costs the work that a word costs when it is new.
    private static ulong Hash(ReadOnlySpan<byte> word)
    {
        ulong hash = (ulong)word.Length;
        for (; word.Length >= 8; word = word[8..]) hash = Mix(hash ^ BinaryPrimitives.ReadUInt64LittleEndian(word));
        ulong rest = 0;
        foreach (byte value in word) rest = rest << 8 | value;
        return Mix(hash ^ rest);
    }

    private static ulong Mix(ulong value)
    {
        value *= 0x9E3779B97F4A7C15;
        return (value ^ value >> 32) * 0xD6E8FEB86659FD93;
    }

    private byte[] WithAllBytes(ReadOnlySpan<byte> word)
    {
        var replaced = new List<byte>(word.Length);
        foreach (byte value in word)
        {
            if (_byteIds[value] >= 0) replaced.Add(value);
            else replaced.AddRange("\uFFFD"u8);
        }
        return [.. replaced];
    }

    private void EncodeShort(ReadOnlySpan<byte> word, List<int> ids)
    {
        Span<int> symbols = stackalloc int[Short], ranks = stackalloc int[Short];
        int count = word.Length;
        for (int i = 0; i < count; i++) symbols[i] = _byteIds[word[i]];
        for (int i = 0; i < count - 1; i++) ranks[i] = RankOf(symbols[i], symbols[i + 1]);
        while (count > 1)
        {
            int best = 0;
            for (int i = 1; i < count - 1; i++)
                if (ranks[i] < ranks[best]) best = i;
            if (ranks[best] == int.MaxValue) break;
            symbols[best] = _merges[Key(symbols[best], symbols[best + 1])].Result;
            count--;
            symbols[(best + 2)..(count + 1)].CopyTo(symbols[(best + 1)..]);
            if (best + 1 < count) ranks[(best + 1)..count].CopyTo(ranks[best..]);
            if (best + 1 < count) ranks[best] = RankOf(symbols[best], symbols[best + 1]);
            if (best > 0) ranks[best - 1] = RankOf(symbols[best - 1], symbols[best]);
        }
        foreach (int symbol in symbols[..count]) ids.Add(symbol);
    }

    // A heap of candidates over a linked list: n log n for a word of any length. Entries that a merge made stale are recognised by their rank.
    private void EncodeLong(ReadOnlySpan<byte> word, List<int> ids)
    {
        int count = word.Length;
        int[] symbols = ArrayPool<int>.Shared.Rent(count), next = ArrayPool<int>.Shared.Rent(count), previous = ArrayPool<int>.Shared.Rent(count);
        var candidates = new PriorityQueue<int, ulong>(count);
        for (int i = 0; i < count; i++) (symbols[i], next[i], previous[i]) = (_byteIds[word[i]], i + 1, i - 1);
        for (int i = 0; i < count - 1; i++) Offer(i);
        while (candidates.TryDequeue(out int at, out ulong priority))
        {
            int right = next[at];
            if (symbols[at] < 0 || right >= count || RankOf(symbols[at], symbols[right]) != (int)(priority >> 32)) continue;
            symbols[at] = _merges[Key(symbols[at], symbols[right])].Result;
            symbols[right] = -1;
            next[at] = next[right];
            if (next[at] < count)
            {
                previous[next[at]] = at;
                Offer(at);
            }
            if (previous[at] >= 0) Offer(previous[at]);
        }
        for (int i = 0; i < count; i = next[i]) ids.Add(symbols[i]);
        ArrayPool<int>.Shared.Return(symbols);
        ArrayPool<int>.Shared.Return(next);
        ArrayPool<int>.Shared.Return(previous);

        void Offer(int at)
        {
            int rank = RankOf(symbols[at], symbols[next[at]]);
            if (rank != int.MaxValue) candidates.Enqueue(at, ((ulong)(uint)rank << 32) | (uint)at);
        }
    }

    private sealed record Known(byte[] Word, int[] Ids);
}
