namespace Varlen.Tests;

/// <summary>Results must have the same bits on any number of threads.</summary>
internal static class Threads
{
    /// <param name="compute">Called with 1, 2 and 3 threads; all its results are compared.</param>
    public static void AssertSameBits(Func<Tensor[]> compute)
    {
        int before = Device.CpuThreads;
        try
        {
            Device.CpuThreads = 1;
            Tensor[] expected = compute();
            foreach (int threads in (int[])[2, 3])
            {
                Device.CpuThreads = threads;
                Tensor[] actual = compute();
                for (int i = 0; i < expected.Length; i++) Numeric.AssertSameBits(expected[i], actual[i]);
            }
        }
        finally
        {
            Device.CpuThreads = before;
        }
    }
}
