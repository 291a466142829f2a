using System.Numerics;
using Varlen.Data;

namespace Varlen.Auditing;

/// <summary>Which tokens of a store were targets: one bit each.</summary>
internal sealed class TargetCoverage
{
    private readonly TokenStore _store;
    private readonly long[] _starts;
    private readonly ulong[] _bits;

    public TargetCoverage(TokenStore store)
    {
        _store = store;
        _starts = new long[store.DocumentCount + 1];
        for (int document = 0; document < store.DocumentCount; document++) _starts[document + 1] = _starts[document] + store.Length(document);
        _bits = new ulong[(store.Tokens + 63) / 64];
    }

    /// <summary>The first target that came twice, in words; null when none did.</summary>
    public string? Repeated { get; private set; }

    /// <summary>Different targets.</summary>
    public long Count => _bits.Sum(word => (long)BitOperations.PopCount(word));

    /// <summary>Counts the targets of input tokens [start, start + count): those one further.</summary>
    public void Add(int document, long start, int count)
    {
        for (long bit = _starts[document] + start + 1, end = bit + count; bit < end; bit++)
        {
            if (Has(bit)) Repeated ??= Name(bit);
            _bits[bit >> 6] |= 1UL << (int)(bit & 63);
        }
    }

    /// <summary>The first trained target that neither this nor the other has, in words, and how many neither has of those that are not trained.</summary>
    public (string? Trained, long Untrained) Missing(TargetCoverage other)
    {
        string? first = null;
        long untrained = 0;
        for (int document = 0; document < _store.DocumentCount; document++)
            for (long bit = _starts[document] + 1; bit < _starts[document + 1]; bit++)
            {
                if (Has(bit) || other.Has(bit)) continue;
                if (_store.CountTrained(document, bit - _starts[document], 1) == 0) untrained++;
                else first ??= Name(bit);
            }
        return (first, untrained);
    }

    /// <summary>The first target that both have, in words.</summary>
    public string? FirstShared(TargetCoverage other)
    {
        for (int word = 0; word < _bits.Length; word++)
            if ((_bits[word] & other._bits[word]) is > 0 and ulong shared) return Name(64L * word + BitOperations.TrailingZeroCount(shared));
        return null;
    }

    private bool Has(long bit) => (_bits[bit >> 6] >> (int)(bit & 63) & 1) != 0;

    private string Name(long bit)
    {
        int document = Array.BinarySearch(_starts, bit);
        // Empty documents start where the next does.
        if (document < 0) document = ~document - 1;
        while (document < _store.DocumentCount - 1 && _starts[document + 1] <= bit) document++;
        return $"token {bit - _starts[document]} of document {document}";
    }
}
