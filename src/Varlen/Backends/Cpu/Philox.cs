using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Varlen.Backends.Cpu;

/// <summary>
/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"): 128 random bits from a 128-bit counter and a
/// 64-bit key, with no state. Whoever knows the counter knows the bits, in any order and on any thread.
/// </summary>
internal static unsafe class Philox
{
    private const uint Multiplier0 = 0xD2511F53, Multiplier1 = 0xCD9E8D57;
    private const uint Weyl0 = 0x9E3779B9, Weyl1 = 0xBB67AE85;
    private const int Rounds = 10;

    /// <summary>Four random words.</summary>
    internal static (uint W0, uint W1, uint W2, uint W3) Block(uint c0, uint c1, uint c2, uint c3, uint key0, uint key1)
    {
        for (int round = 0; round < Rounds; round++, key0 += Weyl0, key1 += Weyl1)
        {
            ulong p0 = (ulong)Multiplier0 * c0, p1 = (ulong)Multiplier1 * c2;
            (c0, c1, c2, c3) = ((uint)(p1 >> 32) ^ c1 ^ key0, (uint)p1, (uint)(p0 >> 32) ^ c3 ^ key1, (uint)p0);
        }
        return (c0, c1, c2, c3);
    }

    /// <summary>
    /// Blocks of <paramref name="count"/> counters that differ in their second word, which counts up from <paramref name="c1"/>:
    /// word w of counter i goes to <c>destination[w * stride + i]</c>.
    /// </summary>
    internal static void Rows(uint c0, uint c1, uint c2, uint c3, uint key0, uint key1, int count, uint* destination, long stride)
    {
        int i = 0;
        if (Avx512F.IsSupported)
            for (; i <= count - 16; i += 16) Blocks16(Vector512.Create(c0), Vector512.Create(c1 + (uint)i) + Vector512<uint>.Indices, c2, c3, key0, key1, destination + i, stride);
        if (Avx2.IsSupported)
            for (; i <= count - 8; i += 8) Blocks8(Vector256.Create(c0), Vector256.Create(c1 + (uint)i) + Vector256<uint>.Indices, c2, c3, key0, key1, destination + i, stride);
        for (; i < count; i++)
            (destination[i], destination[stride + i], destination[2 * stride + i], destination[3 * stride + i]) =
                Block(c0, c1 + (uint)i, c2, c3, key0, key1);
    }

    /// <summary>
    /// Blocks of <paramref name="count"/> counters that differ in their first word, which counts up from <paramref name="c0"/>: word w of
    /// counter i goes to <c>destination[4 * i + w]</c>.
    /// </summary>
    internal static void Columns(uint c0, uint c1, uint c2, uint c3, uint key0, uint key1, int count, uint* destination)
    {
        uint* words = stackalloc uint[4 * 16];
        int i = 0;
        if (Avx512F.IsSupported)
            for (; i <= count - 16; i += 16)
            {
                Blocks16(Vector512.Create(c0 + (uint)i) + Vector512<uint>.Indices, Vector512.Create(c1), c2, c3, key0, key1, words, 16);
                Interleave(words, 16, destination + 4L * i);
            }
        if (Avx2.IsSupported)
            for (; i <= count - 8; i += 8)
            {
                Blocks8(Vector256.Create(c0 + (uint)i) + Vector256<uint>.Indices, Vector256.Create(c1), c2, c3, key0, key1, words, 8);
                Interleave(words, 8, destination + 4L * i);
            }
        for (; i < count; i++)
            (destination[4L * i], destination[4L * i + 1], destination[4L * i + 2], destination[4L * i + 3]) = Block(c0 + (uint)i, c1, c2, c3, key0, key1);
    }

    /// <summary>Planes of words to words of counters, a multiple of four of them.</summary>
    private static void Interleave(uint* words, int count, uint* destination)
    {
        for (int i = 0; i < count; i += 4, destination += 16)
        {
            Vector128<uint> a = Vector128.Load(words + i), b = Vector128.Load(words + count + i), c = Vector128.Load(words + 2 * count + i), d = Vector128.Load(words + 3 * count + i);
            Vector128<ulong> ab = Sse2.UnpackLow(a, b).AsUInt64(), cd = Sse2.UnpackLow(c, d).AsUInt64();
            Sse2.UnpackLow(ab, cd).AsUInt32().Store(destination);
            Sse2.UnpackHigh(ab, cd).AsUInt32().Store(destination + 4);
            (ab, cd) = (Sse2.UnpackHigh(a, b).AsUInt64(), Sse2.UnpackHigh(c, d).AsUInt64());
            Sse2.UnpackLow(ab, cd).AsUInt32().Store(destination + 8);
            Sse2.UnpackHigh(ab, cd).AsUInt32().Store(destination + 12);
        }
    }

    private static void Blocks16(Vector512<uint> x0, Vector512<uint> x1, uint c2, uint c3, uint key0, uint key1, uint* destination, long stride)
    {
        Vector512<uint> x2 = Vector512.Create(c2), x3 = Vector512.Create(c3);
        for (int round = 0; round < Rounds; round++, key0 += Weyl0, key1 += Weyl1)
        {
            Multiply(x0, Vector512.Create(Multiplier0), out Vector512<uint> high0, out Vector512<uint> low0);
            Multiply(x2, Vector512.Create(Multiplier1), out Vector512<uint> high1, out Vector512<uint> low1);
            x0 = high1 ^ x1 ^ Vector512.Create(key0);
            x1 = low1;
            x2 = high0 ^ x3 ^ Vector512.Create(key1);
            x3 = low0;
        }
        x0.Store(destination);
        x1.Store(destination + stride);
        x2.Store(destination + 2 * stride);
        x3.Store(destination + 3 * stride);
    }

    private static void Blocks8(Vector256<uint> x0, Vector256<uint> x1, uint c2, uint c3, uint key0, uint key1, uint* destination, long stride)
    {
        Vector256<uint> x2 = Vector256.Create(c2), x3 = Vector256.Create(c3);
        for (int round = 0; round < Rounds; round++, key0 += Weyl0, key1 += Weyl1)
        {
            Multiply(x0, Vector256.Create(Multiplier0), out Vector256<uint> high0, out Vector256<uint> low0);
            Multiply(x2, Vector256.Create(Multiplier1), out Vector256<uint> high1, out Vector256<uint> low1);
            x0 = high1 ^ x1 ^ Vector256.Create(key0);
            x1 = low1;
            x2 = high0 ^ x3 ^ Vector256.Create(key1);
            x3 = low0;
        }
        x0.Store(destination);
        x1.Store(destination + stride);
        x2.Store(destination + 2 * stride);
        x3.Store(destination + 3 * stride);
    }

    // The widening product exists for even lanes only, so odd lanes take a turn of their own.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Multiply(Vector512<uint> a, Vector512<uint> b, out Vector512<uint> high, out Vector512<uint> low)
    {
        Vector512<ulong> even = Avx512F.Multiply(a, b), odd = Avx512F.Multiply((a.AsUInt64() >> 32).AsUInt32(), b);
        Vector512<ulong> lower = Vector512.Create(0xFFFFFFFFul);
        high = ((even >> 32) | Vector512.AndNot(odd, lower)).AsUInt32();
        low = ((even & lower) | (odd << 32)).AsUInt32();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Multiply(Vector256<uint> a, Vector256<uint> b, out Vector256<uint> high, out Vector256<uint> low)
    {
        Vector256<ulong> even = Avx2.Multiply(a, b), odd = Avx2.Multiply((a.AsUInt64() >> 32).AsUInt32(), b);
        Vector256<ulong> lower = Vector256.Create(0xFFFFFFFFul);
        high = ((even >> 32) | Vector256.AndNot(odd, lower)).AsUInt32();
        low = ((even & lower) | (odd << 32)).AsUInt32();
    }
}
