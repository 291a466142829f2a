using Xunit;

namespace Varlen.Tests.Backends.Cuda.Attention;

/// <summary>The bits of a sequence's results and gradients depend on itself alone: all kernels but the backward passes with atomic additions are deterministic without being asked.</summary>
public sealed class AttentionInvarianceTests
{
    private static readonly (int Queries, int Keys)[] Lengths = [(37, 37), (1, 1), (130, 130), (48, 60), (0, 5), (16, 16), (5, 2), (64, 64), (31, 20), (90, 70)];
    private const int QueryHeads = 4, KeyHeads = 2;

    [Theory]
    [InlineData(DType.BFloat16, 64, -1, -1, 0, true)]
    [InlineData(DType.BFloat16, 32, -1, 0, 0.2, true)]
    [InlineData(DType.Float32, 32, 20, 7, 0, true)]
    [InlineData(DType.Float16, 32, 20, 7, 0, false)]
    [InlineData(DType.BFloat16, 64, -1, 0, 0, false)]
    [InlineData(DType.BFloat16, 128, -1, -1, 0, false)]
    public void Alone_packed_and_permuted(DType dtype, int dim, int left, int right, double dropout, bool portable)
    {
        Device device = TestDevices.Cuda();
        ulong[] documents = [.. Enumerable.Range(0, Lengths.Length).Select(i => 1000ul + ((ulong)i << 33))];
        // On compute capability 9.0 longer sequences of these head dims sum the gradient of queries in any order.
        int[] used = [.. Enumerable.Range(0, Lengths.Length).Where(s => portable || dim == 32 || Math.Max(Lengths[s].Queries, Lengths[s].Keys) <= 64)];
        AttentionCase packed = Case(used, null);
        var inputs = packed.Inputs();
        AttentionCase.Results all = packed.Run(device);
        int[] order = [.. used];
        new Random(packed.Seed).Shuffle(order);
        Check(order);
        foreach (int s in used) Check([s]);

        // Runs these sequences in this order and compares each with its part of the packed run.
        void Check(int[] sequences)
        {
            double[] Queries(double[] x) => Pick(x, used, sequences, l => l.Queries, QueryHeads * dim);
            double[] Keys(double[] x) => Pick(x, used, sequences, l => l.Keys, KeyHeads * dim);
            AttentionCase.Results some = Case(sequences, (Queries(inputs.Query), Keys(inputs.Key), Keys(inputs.Value), Queries(inputs.DOutput), PickHeads(inputs.DLse, used, sequences))).Run(device);
            string who = $"seed {packed.Seed}, sequences {string.Join(' ', sequences)}";
            Same(who + " output", Queries(all.Output), some.Output);
            Same(who + " lse", PickHeads(all.Lse, used, sequences), some.Lse);
            Same(who + " query gradient", Queries(all.DQuery), some.DQuery);
            Same(who + " key gradient", Keys(all.DKey), some.DKey);
            Same(who + " value gradient", Keys(all.DValue), some.DValue);
        }

        AttentionCase Case(int[] sequences, (double[], double[], double[], double[], double[])? given) => new()
        {
            IsPortable = portable, IsDeterministic = portable, DType = dtype, Dim = dim, QueryHeads = QueryHeads, KeyHeads = KeyHeads, Window = new(left, right), Dropout = dropout, Given = given,
            Lengths = [.. sequences.Select(s => Lengths[s])], Documents = [.. sequences.Select(s => documents[s])],
        };
    }

    private static double[] Pick(double[] x, int[] packed, int[] sequences, Func<(int Queries, int Keys), int> length, int width)
        => [.. sequences.SelectMany(s => x.Skip(packed.TakeWhile(p => p != s).Sum(p => length(Lengths[p])) * width).Take(length(Lengths[s]) * width))];

    // [heads, tokens]
    private static double[] PickHeads(double[] x, int[] packed, int[] sequences)
    {
        int tokens = x.Length / QueryHeads;
        return [.. Enumerable.Range(0, QueryHeads).SelectMany(h => sequences.SelectMany(s => x.Skip((h * tokens) + packed.TakeWhile(p => p != s).Sum(p => Lengths[p].Queries)).Take(Lengths[s].Queries)))];
    }

    private static void Same(string what, double[] expected, double[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Assert.True(expected[i].Equals(actual[i]), $"{what} at {i}: {expected[i]:R} became {actual[i]:R}");
    }
}
