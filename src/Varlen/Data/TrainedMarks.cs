using System.Runtime.InteropServices;

namespace Varlen.Data;

/// <summary>Which tokens of a store that is being written are trained as targets, kept as the places where that changes.</summary>
internal sealed class TrainedMarks
{
    private readonly List<long> _changes = [];

    /// <summary>Whether some token is not trained.</summary>
    public bool Any => _changes.Count > 0;

    /// <summary>What holds from a token on.</summary>
    public void Set(long token, bool trained)
    {
        if (trained != ((_changes.Count & 1) == 0)) _changes.Add(token);
    }

    /// <summary>Forgets what was said of a token and those behind it.</summary>
    public void CutBack(long token)
    {
        while (_changes.Count > 0 && _changes[^1] >= token) _changes.RemoveAt(_changes.Count - 1);
    }

    /// <summary>Writes a bit for each token, the first one lowest, up to a multiple of 8 bytes.</summary>
    public void Write(Stream stream, long tokens)
    {
        var block = new ulong[1 << 13];
        int next = 0;
        for (long first = 0; first < tokens; first += block.Length * 64L)
        {
            Array.Clear(block);
            long end = Math.Min(tokens, first + block.Length * 64L);
            for (long at = first, stop; at < end; at = stop)
            {
                while (next < _changes.Count && _changes[next] <= at) next++;
                stop = next < _changes.Count ? Math.Min(end, _changes[next]) : end;
                if ((next & 1) == 0) SetBits(block, (int)(at - first), (int)(stop - first));
            }
            stream.Write(MemoryMarshal.AsBytes(block.AsSpan(0, (int)((end - first + 63) / 64))));
        }
    }

    private static void SetBits(ulong[] words, int from, int to)
    {
        for (int word = from >> 6; word <= (to - 1) >> 6; word++)
        {
            int low = Math.Max(0, from - (word << 6)), high = Math.Min(64, to - (word << 6));
            words[word] |= Mask(low, high);
        }
    }

    /// <summary>A word with the bits from one to before another.</summary>
    public static ulong Mask(int low, int high) => (high == 64 ? ulong.MaxValue : (1UL << high) - 1) & (ulong.MaxValue << low);
}
