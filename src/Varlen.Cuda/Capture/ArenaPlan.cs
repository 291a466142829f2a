namespace Varlen.Backends.Cuda.Capture;

/// <summary>
/// Places in one block of memory, each in the smallest gap that holds it: a function of the order of calls alone, so that a step that asks for the same
/// sizes in the same order gets the same places.
/// </summary>
internal sealed class ArenaPlan
{
    // What the pool gives, too: plans of matrix products depend on how addresses are aligned.
    private const long Alignment = 256;

    // Gaps by their start; the last one has no end.
    private readonly SortedList<long, long> _gaps = new() { [0] = long.MaxValue };
    private readonly Dictionary<long, long> _taken = [];

    /// <summary>Bytes that all places so far lie in.</summary>
    public long Extent { get; private set; }

    /// <summary>Places in use.</summary>
    public int Count => _taken.Count;

    /// <summary>Bytes in use.</summary>
    public long Bytes => _taken.Values.Sum();

    /// <summary>A place's first byte.</summary>
    public long Take(long bytes)
    {
        bytes = (bytes + Alignment - 1) / Alignment * Alignment;
        int best = -1;
        for (int i = 0; i < _gaps.Count; i++)
            if (_gaps.Values[i] >= bytes && (best < 0 || _gaps.Values[i] < _gaps.Values[best])) best = i;
        (long start, long size) = (_gaps.Keys[best], _gaps.Values[best]);
        _gaps.RemoveAt(best);
        if (size > bytes) _gaps.Add(start + bytes, size == long.MaxValue ? size : size - bytes);
        _taken.Add(start, bytes);
        Extent = Math.Max(Extent, start + bytes);
        return start;
    }

    public void Return(long start)
    {
        _taken.Remove(start, out long size);
        int next = ~Index(start);
        if (next < _gaps.Count && _gaps.Keys[next] == start + size)
        {
            size = _gaps.Values[next] == long.MaxValue ? long.MaxValue : size + _gaps.Values[next];
            _gaps.RemoveAt(next);
        }
        if (next > 0 && _gaps.Keys[next - 1] + _gaps.Values[next - 1] == start)
        {
            long before = _gaps.Keys[next - 1];
            _gaps[before] = size == long.MaxValue ? size : size + _gaps.Values[next - 1];
            return;
        }
        _gaps.Add(start, size);
    }

    // The complement of where a start that is no gap's belongs.
    private int Index(long start)
    {
        int low = 0, high = _gaps.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (_gaps.Keys[middle] < start) low = middle + 1;
            else high = middle;
        }
        return ~low;
    }
}
