using System.Numerics;

namespace Varlen.Backends.Cpu;

/// <summary>
/// Cosines and sines of a rotary embedding: row p holds the cosines of position p for all frequencies, then the sines. The table of
/// one embedding is kept, because all layers of a model share it.
/// </summary>
/// <typeparam name="A">The type of arithmetic; angles are computed in double precision and rounded once.</typeparam>
internal sealed class RotaryTable<A> where A : unmanaged, IBinaryFloatingPointIeee754<A>
{
    // 64 MiB in single precision: beyond that, and for negative positions, each call computes what it needs.
    private const long MostKept = 16 << 20;

    private static volatile RotaryTable<A>? s_last;

    private readonly RotaryFrequencies _frequencies;

    private RotaryTable(RotaryFrequencies frequencies, int rows)
    {
        _frequencies = frequencies;
        Values = new A[2L * rows * frequencies.Values.Length];
    }

    public A[] Values { get; }

    /// <summary>A table, and the row of each token in it.</summary>
    public static (RotaryTable<A> Table, int[] Rows) For(ReadOnlySpan<int> positions, RotaryFrequencies frequencies)
    {
        int dimensions = 2 * frequencies.Values.Length;
        (int least, int most) = (int.MaxValue, -1);
        foreach (int position in positions) (least, most) = (Math.Min(least, position), Math.Max(most, position));
        if (positions.IsEmpty || least < 0 || (most + 1L) * dimensions > MostKept)
        {
            var own = new RotaryTable<A>(frequencies, positions.Length);
            for (int i = 0; i < positions.Length; i++) own.Fill(i, positions[i]);
            return (own, [.. Enumerable.Range(0, positions.Length)]);
        }
        RotaryTable<A>? table = s_last;
        if (table is null || !table._frequencies.Values.SequenceEqual(frequencies.Values) || table.Values.Length < (most + 1L) * dimensions)
        {
            int rows = (int)Math.Min(MostKept / Math.Max(1, dimensions), BitOperations.RoundUpToPowerOf2((uint)most + 1));
            table = new RotaryTable<A>(frequencies, rows);
            for (int position = 0; position < rows; position++) table.Fill(position, position);
            s_last = table;
        }
        return (table, positions.ToArray());
    }

    private void Fill(int row, int position)
    {
        ReadOnlySpan<double> frequencies = _frequencies.Values;
        int half = frequencies.Length;
        Span<A> values = Values.AsSpan(2 * row * half, 2 * half);
        for (int i = 0; i < half; i++)
        {
            (double sine, double cosine) = Math.SinCos(position * frequencies[i]);
            values[i] = A.CreateTruncating(cosine);
            values[half + i] = A.CreateTruncating(sine);
        }
    }
}
