using Xunit;

namespace Varlen.Tests.Backends.Cuda.Attention;

/// <summary>NaN of another sequence changes no bit; NaN of a sequence's own reaches the rows that see it and no other.</summary>
public sealed class AttentionIsolationTests
{
    private const int Dim = 32;
    private static readonly (int Queries, int Keys)[] Lengths = [(20, 20), (70, 70), (30, 40), (12, 5), (3, 3), (9, 9)];

    [Theory]
    [InlineData(DType.BFloat16, 1, true)]
    [InlineData(DType.BFloat16, 3, true)]
    [InlineData(DType.Float32, 2, true)]
    [InlineData(DType.BFloat16, 0, false)]
    [InlineData(DType.Float16, 2, false)]
    [InlineData(DType.BFloat16, 4, false)]
    public void A_poisoned_sequence_changes_no_bit_of_others(DType dtype, int sequence, bool portable)
    {
        Device device = TestDevices.Cuda();
        AttentionCase clean = Case(dtype, null), poisoned = Case(dtype, (q, k, v, dy) =>
        {
            int query = Lengths.Take(sequence).Sum(l => l.Queries), key = Lengths.Take(sequence).Sum(l => l.Keys);
            q.AsSpan(query * 2 * Dim, Lengths[sequence].Queries * 2 * Dim).Fill(double.NaN);
            dy.AsSpan(query * 2 * Dim, Lengths[sequence].Queries * 2 * Dim).Fill(double.NaN);
            k.AsSpan(key * Dim, Lengths[sequence].Keys * Dim).Fill(double.NaN);
            v.AsSpan(key * Dim, Lengths[sequence].Keys * Dim).Fill(double.NaN);
            // And the tokens of no sequence.
            foreach (double[] x in new[] { q, dy }) x.AsSpan(x.Length - (4 * 2 * Dim)).Fill(double.NaN);
            foreach (double[] x in new[] { k, v }) x.AsSpan(x.Length - (4 * Dim)).Fill(double.NaN);
        });
        AttentionCase.Results a = clean.Run(device), b = poisoned.Run(device);
        Same(a.Output, b.Output, l => l.Queries, 2 * Dim);
        Same(a.DQuery, b.DQuery, l => l.Queries, 2 * Dim);
        Same(a.DKey, b.DKey, l => l.Keys, Dim);
        Same(a.DValue, b.DValue, l => l.Keys, Dim);

        void Same(double[] x, double[] y, Func<(int Queries, int Keys), int> length, int width)
        {
            int start = Lengths.Take(sequence).Sum(length) * width, end = start + (length(Lengths[sequence]) * width);
            for (int i = 0; i < x.Length; i++)
                if (i < start || i >= end) Assert.True(x[i].Equals(y[i]), $"{i}: {x[i]} became {y[i]}");
        }

        AttentionCase Case(DType type, Action<double[], double[], double[], double[]>? poison) =>
            new() { IsPortable = portable, DType = type, Dim = Dim, Lengths = Lengths, Tail = 4, Seed = 5, Window = AttentionWindow.Causal, Poison = poison };
    }
}
