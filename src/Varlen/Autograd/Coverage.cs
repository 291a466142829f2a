using System.Runtime.InteropServices;

namespace Varlen.Autograd;

/// <summary>
/// Which elements of a dense gradient buffer have been written. The elements of a slice of a dense tensor, a chunk of a fused
/// projection or a row range, are those whose index modulo a period lies in one interval; sibling slices share the period. So a set of
/// written slices is a period and a list of intervals, and "is it all covered" needs no pass over memory.
/// </summary>
internal sealed class Coverage
{
    private readonly List<(long Start, long End)> _written = [];
    private readonly long _count;
    private long _period;
    private bool _touched;

    public Coverage(long count) => _count = _period = count;

    /// <summary>Whether nothing was written, not even a slice of no elements.</summary>
    public bool IsEmpty => !_touched;

    public bool IsFull => _count == 0 || (_written.Count == 1 && _written[0] == (0, _period));

    /// <summary>Unwritten intervals of each period.</summary>
    public IEnumerable<(long Start, long Length)> Gaps()
    {
        long at = 0;
        foreach ((long start, long end) in _written)
        {
            if (start > at) yield return (at, start - at);
            at = end;
        }
        if (at < _period) yield return (at, _period - at);
    }

    public long Period => _period;

    public void Clear()
    {
        _written.Clear();
        _period = _count;
        _touched = false;
    }

    public void MarkFull()
    {
        Clear();
        _touched = true;
        _written.Add((0, _count));
    }

    /// <summary>What a write to a slice finds there.</summary>
    public enum Finding
    {
        /// <summary>Nothing yet: the slice is marked as written and may be overwritten.</summary>
        Fresh,
        /// <summary>All of it was written before: add to it.</summary>
        Written,
        /// <summary>Neither, or not expressible: the gaps must be filled with zeros first, then add.</summary>
        Mixed,
    }

    /// <summary>Looks a slice up and, when it is fresh, marks it as written.</summary>
    public Finding Write(long period, long start, long length)
    {
        _touched = true;
        if (length == 0 || IsFull) return Finding.Written;
        if (period < 0) return Finding.Mixed;
        if (_written.Count == 0) _period = period;
        // The whole buffer can be spoken of in any period; other slices only in their own.
        if (period != _period)
        {
            if (length != period) return Finding.Mixed;
            (start, length) = (0, _period);
        }
        int at = 0;
        while (at < _written.Count && _written[at].End <= start) at++;
        long end = start + length;
        if (at < _written.Count && _written[at].Start < end)
            return _written[at].Start <= start && end <= _written[at].End ? Finding.Written : Finding.Mixed;
        Insert(at, start, end);
        return Finding.Fresh;
    }

    private void Insert(int at, long start, long end)
    {
        Span<(long Start, long End)> written = CollectionsMarshal.AsSpan(_written);
        bool joinsLeft = at > 0 && written[at - 1].End == start, joinsRight = at < written.Length && written[at].Start == end;
        if (joinsLeft && joinsRight)
        {
            written[at - 1].End = written[at].End;
            _written.RemoveAt(at);
        }
        else if (joinsLeft) written[at - 1].End = end;
        else if (joinsRight) written[at].Start = start;
        else _written.Insert(at, (start, end));
    }

    /// <summary>
    /// Period, start and length of a view in a dense buffer of <paramref name="count"/> elements; period -1 when the view is no slice.
    /// </summary>
    public static (long Period, long Start, long Length) Describe(ReadOnlySpan<int> shape, ReadOnlySpan<long> strides, long offset, long count)
    {
        Span<int> order = stackalloc int[shape.Length];
        int rank = 0;
        for (int i = 0; i < shape.Length; i++)
        {
            if (shape[i] == 0) return (count, 0, 0);
            if (shape[i] != 1) order[rank++] = i;
        }
        order = order[..rank];
        for (int i = 1; i < rank; i++)
            for (int j = i; j > 0 && strides[order[j]] < strides[order[j - 1]]; j--)
                (order[j], order[j - 1]) = (order[j - 1], order[j]);
        // Innermost dense run.
        long length = 1;
        int next = 0;
        while (next < rank && strides[order[next]] == length) length *= shape[order[next++]];
        if (next == rank) return (count, offset, length);
        // What remains must repeat it evenly over the whole buffer.
        long period = strides[order[next]], repeats = 1;
        for (; next < rank; next++)
        {
            if (strides[order[next]] != period * repeats) return (-1, 0, 0);
            repeats *= shape[order[next]];
        }
        return period * repeats == count && offset + length <= period ? (period, offset, length) : (-1, 0, 0);
    }
}
