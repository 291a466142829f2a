using Varlen.Backends.Cuda;
using Xunit;

namespace Varlen.Tests.Backends.Cuda;

public sealed class DividerTests
{
    [Fact]
    public void DividesExactly()
    {
        int[] divisors = [.. Enumerable.Range(1, 300), 1023, 1024, 1025, 4097, 65535, 1 << 20, (1 << 30) - 1, 1 << 30, int.MaxValue - 1, int.MaxValue];
        foreach (int divisor in divisors)
        {
            var divider = new Divider(divisor);
            // Quotients change next to multiples of the divisor.
            foreach (long multiple in (long[])[0, 1, 2, 7, 1000, int.MaxValue / divisor])
                for (long number = multiple * divisor - 2; number <= multiple * divisor + 2; number++)
                    if (number is >= 0 and <= int.MaxValue) Assert.Equal((uint)(number / divisor), divider.Divide((uint)number));
            Assert.Equal((uint)(int.MaxValue / divisor), divider.Divide(int.MaxValue));
        }
    }
}
