using Varlen.Backends.Cpu;
using Xunit;

namespace Varlen.Tests.Ops;

public sealed unsafe class SoftmaxRowTests
{
    [Fact]
    public void StoredExponentialsHaveTheBitsOfThoseComputedTwice()
    {
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        for (int trial = 0; trial < 200; trial++)
        {
            int length = random.Next(1, 150);
            float[] row = [.. Enumerable.Range(0, length).Select(_ => (random.NextSingle() - 0.5f) * random.Next(1, 200))];
            if (trial % 10 == 0) row[random.Next(length)] = float.NegativeInfinity;
            if (trial % 25 == 0) row[random.Next(length)] = float.NaN;
            float[] once = [.. row], twice = new float[length];
            float sum, expected;
            fixed (float* x = row, y = once, z = twice)
            {
                float max = SoftmaxRow.Max(x, length);
                expected = SoftmaxRow.SumExp(x, max, length);
                SoftmaxRow.ScaledExp(x, max, 1 / expected, z, length);
                sum = SoftmaxRow.StoreExp(y, max, length);
                SoftmaxRow.Scale(y, 1 / sum, length);
            }
            Assert.True(expected.Equals(sum), $"seed {seed}, length {length}: {sum:R}, expected {expected:R}");
            for (int i = 0; i < length; i++)
                Assert.True(float.IsNaN(twice[i]) ? float.IsNaN(once[i]) : twice[i] == once[i], $"seed {seed}, length {length}, element {i}: {once[i]:R}, expected {twice[i]:R}");
        }
    }
}
