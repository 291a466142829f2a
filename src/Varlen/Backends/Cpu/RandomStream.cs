namespace Varlen.Backends.Cpu;

/// <summary>Host-side random values for initialisation: drawn on the CPU whatever the device, so that a seed means the same everywhere.</summary>
internal static class RandomStream
{
    /// <summary>Standard normal values by the Box-Muller transform on Philox words.</summary>
    public static void Normal(ulong seed, Span<float> values)
    {
        Span<uint> words = stackalloc uint[4];
        for (int i = 0; i < values.Length; i += 4)
        {
            Block((uint)(i >> 2), 0, 0, 2, seed, words);
            for (int j = 0; j < 4 && i + j < values.Length; j += 2)
            {
                // The first factor lies in (0, 1], so that its logarithm is finite.
                double radius = Math.Sqrt(-2 * Math.Log((words[j] + 1.0) / 4294967296.0)), angle = 2 * Math.PI * (words[j + 1] / 4294967296.0);
                values[i + j] = (float)(radius * Math.Cos(angle));
                if (j + 1 < 4 && i + j + 1 < values.Length) values[i + j + 1] = (float)(radius * Math.Sin(angle));
            }
        }
    }

    /// <summary>Normal values of mean zero; a deviation of 0 leaves zeros and draws nothing.</summary>
    public static void Normal(ulong seed, Span<float> values, double deviation)
    {
        if (deviation == 0) values.Clear();
        else Normal(seed, values);
        if (deviation is 0 or 1) return;
        foreach (ref float value in values) value *= (float)deviation;
    }

    /// <summary>Values uniform in [low, high).</summary>
    public static void Uniform(ulong seed, float low, float high, Span<float> values)
    {
        Span<uint> words = stackalloc uint[4];
        for (int i = 0; i < values.Length; i++)
        {
            if ((i & 3) == 0) Block((uint)(i >> 2), 0, 0, 3, seed, words);
            values[i] = low + (high - low) * ((words[i & 3] >> 8) * (1f / 16777216f));
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
