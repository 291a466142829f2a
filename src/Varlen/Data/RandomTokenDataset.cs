using Varlen.Backends.Cpu;

namespace Varlen.Data;

/// <summary>
/// Sequences of random tokens whose lengths follow a distribution: data for measuring, never for learning. Each sequence is a function of
/// the seed and its index alone, so every peer of a comparison gets the same, in any order.
/// </summary>
/// <param name="lengths">How long the sequences are.</param>
/// <param name="vocabularySize">Ids are drawn from 1 to this, exclusive; 0 is left to padding.</param>
/// <param name="seed">Seed.</param>
public sealed class RandomTokenDataset(LengthDistribution lengths, int vocabularySize, ulong seed = 0)
{
    private readonly LengthDistribution _lengths = lengths ?? throw new ArgumentNullException(nameof(lengths));
    private readonly uint _ids = vocabularySize >= 2 ? (uint)vocabularySize - 1 : throw new ArgumentOutOfRangeException(nameof(vocabularySize), vocabularySize, "there must be at least 2 ids, one of them for padding");

    /// <summary>One sequence: <c>length + 1</c> draws, of which all but the last are tokens and all but the first their targets.</summary>
    /// <param name="index">From 0.</param>
    /// <exception cref="ArgumentOutOfRangeException">The index is negative.</exception>
    public TokenSequence this[long index]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfNegative(index);
            int length = _lengths.At(index, Words(index, uint.MaxValue).W0);
            var draws = new int[length + 1];
            for (int i = 0; i < draws.Length; i += 4)
            {
                (uint w0, uint w1, uint w2, uint w3) = Words(index, (uint)i / 4);
                draws[i] = Id(w0);
                if (i + 1 < draws.Length) draws[i + 1] = Id(w1);
                if (i + 2 < draws.Length) draws[i + 2] = Id(w2);
                if (i + 3 < draws.Length) draws[i + 3] = Id(w3);
            }
            return new TokenSequence(draws.AsMemory(0, length), draws.AsMemory(1));
        }
    }

    /// <summary>Consecutive sequences: one batch.</summary>
    /// <param name="batch">Number of the batch, from 0.</param>
    /// <param name="size">Sequences in a batch.</param>
    public IReadOnlyList<TokenSequence> Batch(long batch, int size)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1);
        var sequences = new TokenSequence[size];
        for (int i = 0; i < size; i++) sequences[i] = this[batch * size + i];
        return sequences;
    }

    private (uint W0, uint W1, uint W2, uint W3) Words(long index, uint block)
        => Philox.Block((uint)index, (uint)(index >>> 32), block, 5, (uint)seed, (uint)(seed >> 32));

    // The high half of a product is uniform to one part in 2^32 / ids.
    private int Id(uint word) => 1 + (int)((ulong)word * _ids >> 32);
}

/// <summary>How long the sequences of a <see cref="RandomTokenDataset"/> are.</summary>
public abstract record LengthDistribution
{
    /// <summary>Every length from <paramref name="minimum"/> to <paramref name="maximum"/>, both included, equally often.</summary>
    public static LengthDistribution Uniform(int minimum, int maximum)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(minimum);
        ArgumentOutOfRangeException.ThrowIfLessThan(maximum, minimum);
        return new UniformLengths(minimum, maximum);
    }

    /// <summary>One length.</summary>
    public static LengthDistribution Fixed(int length) => Uniform(length, length);

    /// <summary>These lengths in turn, again and again.</summary>
    /// <exception cref="ArgumentException">There are none, or one is negative.</exception>
    public static LengthDistribution Listed(params ReadOnlySpan<int> lengths)
    {
        if (lengths.IsEmpty) throw new ArgumentException("there are no lengths; list at least one", nameof(lengths));
        for (int i = 0; i < lengths.Length; i++)
            if (lengths[i] < 0) throw new ArgumentException($"lengths[{i}] = {lengths[i]} is negative; lengths count tokens from 0", nameof(lengths));
        return new ListedLengths(lengths.ToArray());
    }

    /// <summary>The length of the sequence at an index.</summary>
    /// <param name="index">Its index.</param>
    /// <param name="word">Random bits of its own.</param>
    internal abstract int At(long index, uint word);

    private sealed record UniformLengths(int Minimum, int Maximum) : LengthDistribution
    {
        internal override int At(long index, uint word) => Minimum + (int)(word * ((ulong)Maximum - (ulong)Minimum + 1) >> 32);
    }

    private sealed record ListedLengths(int[] Lengths) : LengthDistribution
    {
        internal override int At(long index, uint word) => Lengths[index % Lengths.Length];
    }
}
