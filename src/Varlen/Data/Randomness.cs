namespace Varlen.Data;

/// <summary>Numbers that follow from a seed alone, the same in every version and on every machine.</summary>
/// <remarks>Source: G. L. Steele et al., "Fast Splittable Pseudorandom Number Generators" (2014), SplitMix64.</remarks>
internal struct Randomness(ulong seed)
{
    private ulong _state = seed;

    public static ulong Mix(ulong value)
    {
        value += 0x9E3779B97F4A7C15;
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
        return value ^ (value >> 31);
    }

    /// <summary>A number from 0 to a bound, exclusive.</summary>
    public int Next(int bound)
    {
        ulong value = Mix(_state);
        _state += 0x9E3779B97F4A7C15;
        return (int)Math.BigMul(value, (ulong)bound, out _);
    }

    public void Shuffle<T>(Span<T> items)
    {
        for (int i = items.Length - 1; i > 0; i--)
        {
            int other = Next(i + 1);
            (items[i], items[other]) = (items[other], items[i]);
        }
    }
}
