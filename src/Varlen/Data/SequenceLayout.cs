using System.Runtime.InteropServices;
using Varlen.Data;

namespace Varlen;

/// <summary>
/// Where sequences begin and end in a packed batch: sequence i is tokens <c>CuSeqlens[i]</c> to <c>CuSeqlens[i + 1] - 1</c>.
/// The only way to say so in Varlen; checked by value when made, so that no kernel ever sees bad offsets. Sequences may be empty,
/// and so may the batch.
/// </summary>
/// <remarks>
/// Immutable, compared by value, and safe to share between threads; arrays that can be derived are made on first use and kept.
/// Everything here is on the host and stays readable after disposal, which releases only what a device holds for the layout.
/// </remarks>
public sealed partial class SequenceLayout : IEquatable<SequenceLayout>, IDisposable
{
    private readonly int[] _offsets;
    // Null stands for the default in both: the sequence's index, and counting from 0 in each sequence.
    private readonly ulong[]? _keys;
    private readonly int[]? _positions;
    private int[]? _lengths, _derivedPositions, _documents;
    private ulong[]? _derivedKeys;

    private SequenceLayout(int[] offsets, ulong[]? keys = null, int[]? positions = null)
    {
        _offsets = offsets;
        _keys = keys;
        _positions = positions;
        for (int i = 0; i < Count; i++) MaxLength = Math.Max(MaxLength, offsets[i + 1] - offsets[i]);
    }

    /// <summary>Number of sequences, empty ones included.</summary>
    public int Count => _offsets.Length - 1;

    /// <summary>Tokens of all sequences together.</summary>
    public int TotalTokens => _offsets[^1];

    /// <summary>Length of the longest sequence; 0 when there is none.</summary>
    public int MaxLength { get; }

    /// <summary>Where each sequence starts, and the total at the end: <c>[Count + 1]</c>, from 0, never decreasing.</summary>
    public ReadOnlySpan<int> CuSeqlens => _offsets;

    /// <summary>Where each sequence starts: <c>[Count]</c>.</summary>
    public ReadOnlySpan<int> Offsets => _offsets.AsSpan(0, Count);

    /// <summary>Length of each sequence: <c>[Count]</c>.</summary>
    public ReadOnlySpan<int> Lengths => _lengths ?? Publish(ref _lengths, MakeLengths());

    /// <summary>Position of each token in its sequence: <c>[TotalTokens]</c>. Counts from 0, unless the layout was made with <see cref="PaddingPolicy.ColumnPositions"/>.</summary>
    public ReadOnlySpan<int> PositionIds => _positions ?? _derivedPositions ?? Publish(ref _derivedPositions, MakePositions());

    /// <summary>Index of each token's sequence: <c>[TotalTokens]</c>.</summary>
    public ReadOnlySpan<int> DocumentIds => _documents ?? Publish(ref _documents, MakeDocuments());

    /// <summary>
    /// A stable identity for each sequence: <c>[Count]</c>. Dropout is drawn from it, so that a sequence drops the same links wherever in
    /// a batch it stands. The sequence's index unless set by <see cref="WithDocumentKeys"/>; <see cref="Permute"/> carries it along.
    /// </summary>
    public ReadOnlySpan<ulong> DocumentKeys => _keys ?? _derivedKeys ?? Publish(ref _derivedKeys, MakeKeys(Count));

    /// <summary>Where the layout lies when others will follow it there; null for one by itself.</summary>
    internal LayoutSlot? Slot { get; private init; }

    /// <summary>First token and length of a sequence.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such sequence.</exception>
    public (int Start, int Length) this[int index]
    {
        get
        {
            if ((uint)index >= (uint)Count)
                throw new ArgumentOutOfRangeException(nameof(index), index, $"the layout has {Count} sequences, counted from 0");
            return (_offsets[index], _offsets[index + 1] - _offsets[index]);
        }
    }

    /// <summary>The same sequences with these identities.</summary>
    /// <param name="keys">One for each sequence. Equal keys give equal dropout.</param>
    /// <exception cref="ArgumentException">Not one key for each sequence.</exception>
    public SequenceLayout WithDocumentKeys(ReadOnlySpan<ulong> keys)
    {
        if (keys.Length != Count)
            throw new ArgumentException($"there are {keys.Length} keys for {Count} sequences; pass one for each", nameof(keys));
        return new(_offsets, KeysOrDefault(keys.ToArray()), _positions);
    }

    /// <summary>The same sequences in another order, each with its own positions and document key.</summary>
    /// <param name="order">For each new place the index of the sequence that goes there; each index once.</param>
    /// <exception cref="ArgumentException"><paramref name="order"/> is not a permutation of 0 to <see cref="Count"/> - 1.</exception>
    public SequenceLayout Permute(ReadOnlySpan<int> order)
    {
        if (order.Length != Count)
            throw new ArgumentException($"the order has {order.Length} entries for {Count} sequences; name each sequence once", nameof(order));
        var places = new int[Count];
        var offsets = new int[Count + 1];
        var keys = new ulong[Count];
        int[]? positions = _positions is null ? null : new int[TotalTokens];
        for (int i = 0; i < order.Length; i++)
        {
            int from = order[i];
            if ((uint)from >= (uint)Count)
                throw new ArgumentException($"order[{i}] = {from} is no sequence; the layout has {Count}, counted from 0", nameof(order));
            if (places[from] != 0)
                throw new ArgumentException($"order[{i}] = {from} repeats order[{places[from] - 1}]; name each sequence once", nameof(order));
            places[from] = i + 1;
            keys[i] = DocumentKeys[from];
            (int start, int length) = this[from];
            _positions?.AsSpan(start, length).CopyTo(positions.AsSpan(offsets[i]));
            offsets[i + 1] = offsets[i] + length;
        }
        return new(offsets, KeysOrDefault(keys), positions);
    }

    /// <summary>The same sequences in a slot.</summary>
    internal SequenceLayout In(LayoutSlot slot) => new(_offsets, _keys, _positions) { Slot = slot };

    /// <summary>Releases what a device holds for this layout; the host side stays readable.</summary>
    public void Dispose() => ReleaseDevice();

    /// <summary>Whether lengths, positions and document keys are equal.</summary>
    public bool Equals(SequenceLayout? other) =>
        ReferenceEquals(this, other)
        || (other is not null && CuSeqlens.SequenceEqual(other.CuSeqlens) && SameOrDefault(_keys, other._keys) && SameOrDefault(_positions, other._positions));

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as SequenceLayout);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        var hash = new HashCode();
        hash.AddBytes(MemoryMarshal.AsBytes(CuSeqlens));
        return hash.ToHashCode();
    }

    /// <summary>Count, tokens and longest length.</summary>
    public override string ToString() => $"{Count} sequences, {TotalTokens} tokens, longest {MaxLength}";

    partial void ReleaseDevice();

    // The first thread to finish wins, so that every caller sees one array.
    private static T[] Publish<T>(ref T[]? field, T[] made) => Interlocked.CompareExchange(ref field, made, null) ?? made;

    // The default is kept as null, so that equal layouts compare equal however they were made.
    private static bool SameOrDefault<T>(T[]? left, T[]? right) where T : IEquatable<T> =>
        left is null ? right is null : right is not null && left.AsSpan().SequenceEqual(right);

    private static ulong[]? KeysOrDefault(ulong[] keys)
    {
        for (int i = 0; i < keys.Length; i++)
            if (keys[i] != (ulong)i) return keys;
        return null;
    }

    private static ulong[] MakeKeys(int count)
    {
        var keys = new ulong[count];
        for (int i = 0; i < keys.Length; i++) keys[i] = (ulong)i;
        return keys;
    }

    private int[] MakeLengths()
    {
        var lengths = new int[Count];
        for (int i = 0; i < lengths.Length; i++) lengths[i] = _offsets[i + 1] - _offsets[i];
        return lengths;
    }

    private int[] MakePositions()
    {
        var positions = new int[TotalTokens];
        for (int i = 0; i < Count; i++)
            for (int token = _offsets[i]; token < _offsets[i + 1]; token++) positions[token] = token - _offsets[i];
        return positions;
    }

    private int[] MakeDocuments()
    {
        var documents = new int[TotalTokens];
        for (int i = 0; i < Count; i++) documents.AsSpan(_offsets[i].._offsets[i + 1]).Fill(i);
        return documents;
    }
}
