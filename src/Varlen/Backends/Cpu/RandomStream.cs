namespace Varlen.Backends.Cpu;

/// <summary>Host-side random values for initialisation: drawn on the CPU whatever the device, so that a seed means the same everywhere.</summary>
internal static class RandomStream
{
    // Values that a worker makes at a time; a multiple of four, as many as a block of words makes.
    private const int Chunk = 1 << 14;

    /// <summary>Standard normal values by the Box-Muller transform on Philox words.</summary>
    public static void Normal(ulong seed, Span<float> values) => Normal(seed, values, deviation: 1);

    /// <summary>Normal values of mean zero; a deviation of 0 leaves zeros and draws nothing.</summary>
    public static void Normal(ulong seed, Span<float> values, double deviation)
    {
        if (deviation == 0) values.Clear();
        else Fill(new NormalValues(seed, (float)deviation), values);
    }

    /// <summary>Values uniform in [low, high).</summary>
    public static void Uniform(ulong seed, float low, float high, Span<float> values) => Fill(new UniformValues(seed, low, high), values);

    // By all workers: each block of four values depends on its place alone.
    private static unsafe void Fill<TValues>(TValues rule, Span<float> values) where TValues : struct, IFourValues
    {
        fixed (float* first = values)
        {
            var chunks = new Chunks<TValues> { Rule = rule, Values = first, Count = values.Length };
            CpuBackend.Instance.Team.For((values.Length + Chunk - 1) / Chunk, ref chunks);
        }
    }

    // Four values, of which the caller may want fewer.
    private interface IFourValues
    {
        void Make(uint block, Span<float> values);
    }

    private readonly struct NormalValues(ulong seed, float deviation) : IFourValues
    {
        public void Make(uint block, Span<float> values)
        {
            Span<uint> words = stackalloc uint[4];
            Block(block, 0, 0, 2, seed, words);
            for (int i = 0; i < values.Length; i += 2)
            {
                // The first factor lies in (0, 1], so that its logarithm is finite.
                double radius = Math.Sqrt(-2 * Math.Log((words[i] + 1.0) / 4294967296.0)), angle = 2 * Math.PI * (words[i + 1] / 4294967296.0);
                values[i] = (float)(radius * Math.Cos(angle)) * deviation;
                if (i + 1 < values.Length) values[i + 1] = (float)(radius * Math.Sin(angle)) * deviation;
            }
        }
    }

    private readonly struct UniformValues(ulong seed, float low, float high) : IFourValues
    {
        public void Make(uint block, Span<float> values)
        {
            Span<uint> words = stackalloc uint[4];
            Block(block, 0, 0, 3, seed, words);
            for (int i = 0; i < values.Length; i++) values[i] = low + (high - low) * ((words[i] >> 8) * (1f / 16777216f));
        }
    }

    private unsafe struct Chunks<TValues> : IParallelItems where TValues : struct, IFourValues
    {
        public TValues Rule;
        public float* Values;
        public int Count;

        public void Invoke(long item, int worker)
        {
            int begin = (int)item * Chunk, end = (int)Math.Min((long)begin + Chunk, Count);
            for (int i = begin; i < end; i += 4) Rule.Make((uint)(i >> 2), new Span<float>(Values + i, Math.Min(4, end - i)));
        }
    }

    private static void Block(uint c0, uint c1, uint c2, uint c3, ulong key, Span<uint> words)
    {
        (uint k0, uint k1) = ((uint)key, (uint)(key >> 32));
        for (int round = 0; round < 10; round++)
        {
            ulong p0 = (ulong)c0 * 0xD2511F53, p1 = (ulong)c2 * 0xCD9E8D57;
            (c0, c1, c2, c3) = ((uint)(p1 >> 32) ^ c1 ^ k0, (uint)p1, (uint)(p0 >> 32) ^ c3 ^ k1, (uint)p0);
            k0 += 0x9E3779B9;
            k1 += 0xBB67AE85;
        }
        (words[0], words[1], words[2], words[3]) = (c0, c1, c2, c3);
    }
}
