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
    private readonly DeviceList<ShortSequence> _list;

    public ShortList(CudaBackend backend, AttentionSpan[] sequences)
    {
        ShortSequence[] sorted =
        [
            .. from s in sequences orderby Math.Max(s.Queries, s.Keys) descending
            select new ShortSequence(checked((int)s.QueryStart), s.Queries, checked((int)s.KeyStart), s.Keys),
        ];
        _list = new DeviceList<ShortSequence>(backend, sorted.Length + 1);
        Singles = sorted.Count(s => Longest(s) <= 16);
        Pairs = sorted.Count(s => Longest(s) <= 32) - Singles;
        Fours = sorted.Length - Pairs - Singles;
        _list.Values[0] = new ShortSequence(Fours, Pairs, Singles, 0);
        sorted.CopyTo(_list.Values, 1);
        _list.Send();
    }

    public nint Pointer => _list.Pointer;

    /// <summary>Sequences of 33 to 64 tokens, of four warps.</summary>
    public int Fours { get; }

    /// <summary>Of 17 to 32, of two.</summary>
    public int Pairs { get; }

    /// <summary>Of up to 16, of one.</summary>
    public int Singles { get; }

    /// <summary>What blocks take at a time: a sequence of four warps and a head, or two or four smaller ones.</summary>
    public long Units(int heads)
    {
        long pairs = (long)Pairs * heads, singles = (long)Singles * heads;
        return ((long)Fours * heads) + ((pairs + 1) / 2) + ((singles + 3) / 4);
    }

    public void Dispose() => _list.Dispose();

    private static int Longest(ShortSequence s) => Math.Max(s.Queries, s.Keys);
}
