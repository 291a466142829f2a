using System.Runtime.InteropServices;
using Varlen.Backends.Cuda.Memory;

namespace Varlen.Backends.Cuda.Attention;

/// <summary>A sequence of a list, or the list's head: how many sequences of four, two and one warps follow. The twin of <c>Sequence</c> and <c>SequenceList</c> in attention_short.cuh.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct ShortSequence(int QueryStart, int Queries, int KeyStart, int Keys);

/// <summary>
/// The sequences that one block holds whole, for both passes. Warps of a sequence, and so its bits, depend on its own lengths; the order, longest first
/// and equal ones together, lets blocks that take one after the other end together.
/// </summary>
internal sealed class ShortList : IDisposable
{
    // Sequences that one warp takes, or two.
    private const int LongestSingle = 16, LongestPair = 32;

    private readonly DeviceList<ShortSequence> _list;
    private readonly bool _isOfSlot;

    /// <param name="backend">The device.</param>
    /// <param name="sequences">The sequences.</param>
    /// <param name="limits">Limits of the batches of a slot; null for these sequences alone.</param>
    public ShortList(CudaBackend backend, AttentionSpan[] sequences, ListLimits? limits)
    {
        _list = new DeviceList<ShortSequence>(backend, 1 + (limits?.SequencesFrom(1) ?? sequences.Length));
        _isOfSlot = limits is not null;
        Refill(sequences);
    }

    public nint Pointer => _list.Pointer;

    /// <summary>Sequences of 33 to 64 tokens, of four warps.</summary>
    public int Fours { get; private set; }

    /// <summary>Of 17 to 32, of two.</summary>
    public int Pairs { get; private set; }

    /// <summary>Of up to 16, of one.</summary>
    public int Singles { get; private set; }

    /// <summary>Puts other sequences into the list of a slot.</summary>
    public void Refill(AttentionSpan[] sequences)
    {
        ShortSequence[] sorted =
        [
            .. from s in sequences orderby Math.Max(s.Queries, s.Keys) descending select new ShortSequence(checked((int)s.QueryStart), s.Queries, checked((int)s.KeyStart), s.Keys),
        ];
        Singles = sorted.Count(s => Longest(s) <= LongestSingle);
        Pairs = sorted.Count(s => Longest(s) <= LongestPair) - Singles;
        Fours = sorted.Length - Pairs - Singles;
        _list.Values[0] = new ShortSequence(Fours, Pairs, Singles, 0);
        sorted.CopyTo(_list.Values, 1);
        _list.Send();
    }

    /// <summary>Blocks that find something to do: one for a sequence of four warps and a head, or for two or four smaller ones; a slot's may find nothing.</summary>
    public long Blocks(int heads)
    {
        if (_isOfSlot) return (long)(_list.Values.Length - 1) * heads;
        long pairs = (long)Pairs * heads, singles = (long)Singles * heads;
        return ((long)Fours * heads) + ((pairs + 1) / 2) + ((singles + 3) / 4);
    }

    public void Dispose() => _list.Dispose();

    private static int Longest(ShortSequence s) => Math.Max(s.Queries, s.Keys);
}
