using Varlen.Backends.Cpu;
using Xunit;

namespace Varlen.Tests.Backends.Cpu;

public unsafe class PhiloxTests
{
    // The known answers that the generator's authors publish with it.
    [Theory]
    [InlineData(0u, 0u, 0u, 0u, 0u, 0u, 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u)]
    [InlineData(uint.MaxValue, uint.MaxValue, uint.MaxValue, uint.MaxValue, uint.MaxValue, uint.MaxValue,
        0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu)]
    [InlineData(0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u, 0xa4093822u, 0x299f31d0u,
        0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u)]
    public void Block_gives_the_published_answers(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1, uint w0, uint w1, uint w2, uint w3)
        => Assert.Equal((w0, w1, w2, w3), Philox.Block(c0, c1, c2, c3, k0, k1));

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(16)]
    [InlineData(61)]
    public void Rows_equal_single_blocks(int count)
    {
        var random = new Random();
        uint c0 = (uint)random.NextInt64(), c1 = uint.MaxValue - 5, c2 = (uint)random.NextInt64(), c3 = (uint)random.NextInt64();
        uint k0 = (uint)random.NextInt64(), k1 = (uint)random.NextInt64();
        uint[] words = new uint[4 * 64];
        fixed (uint* destination = words) Philox.Rows(c0, c1, c2, c3, k0, k1, count, destination, 64);
        for (int i = 0; i < count; i++)
            Assert.Equal(Philox.Block(c0, c1 + (uint)i, c2, c3, k0, k1), (words[i], words[64 + i], words[128 + i], words[192 + i]));
        Assert.Equal(0u, words[count]);
    }
}
