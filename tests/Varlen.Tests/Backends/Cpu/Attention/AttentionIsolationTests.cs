using Xunit;

namespace Varlen.Tests.Backends.Cpu.Attention;

/// <summary>A NaN or an infinity reaches the rows that see it and no other.</summary>
public class AttentionIsolationTests
{
    private const int Heads = 2;
    private static readonly (int, int)[] Lengths = [(20, 20), (70, 70), (30, 40), (12, 5)];

    public static TheoryData<DType, int, int, bool, double> Cases
    {
        get
        {
            var data = new TheoryData<DType, int, int, bool, double>();
            foreach (DType dtype in new[] { DType.Float32, DType.BFloat16, DType.Float64 })
                foreach (double poison in new[] { double.NaN, double.PositiveInfinity })
                {
                    data.Add(dtype, -1, -1, false, poison);
                    data.Add(dtype, -1, 0, false, poison);
                    data.Add(dtype, 6, 3, false, poison);
                    data.Add(dtype, -1, -1, true, poison);
                }
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_poisoned_key_reaches_only_who_sees_it(DType dtype, int left, int right, bool masked, double poison)
        => Check(dtype, left, right, masked, poison, r => r.Key, inKeys: true);

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_poisoned_value_reaches_only_who_sees_it(DType dtype, int left, int right, bool masked, double poison)
        => Check(dtype, left, right, masked, poison, r => r.Value, inKeys: true);

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_poisoned_query_reaches_only_what_it_sees(DType dtype, int left, int right, bool masked, double poison)
        => Check(dtype, left, right, masked, poison, r => r.Query, inKeys: false);

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_poisoned_output_gradient_reaches_only_what_it_sees(DType dtype, int left, int right, bool masked, double poison)
        => Check(dtype, left, right, masked, poison, r => r.DOutput, inKeys: false);

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_poisoned_lse_gradient_reaches_only_what_it_sees(DType dtype, int left, int right, bool masked, double poison)
        => Check(dtype, left, right, masked, poison, r => r.DLogSumExp, inKeys: false);

    // With 256 features the backward pass takes 128 keys at a time, and all chunks must agree on what to do.
    [Theory]
    [InlineData(20)]
    [InlineData(299)]
    public void Poison_in_any_chunk_of_a_long_sequence_reaches_only_who_sees_it(int position)
    {
        (int, int)[] lengths = [(5, 5), (300, 300)];
        Check(DType.Float32, 7, 0, false, double.NaN, r => r.Key, inKeys: true, 256, lengths, position);
        Check(DType.Float32, 7, 0, false, double.NaN, r => r.DOutput, inKeys: false, 256, lengths, position);
    }

    // Everything that no path of visible links connects with the poison must be as it was without it.
    private static void Check(DType dtype, int left, int right, bool masked, double poison, Func<AttentionRun, NativeRows> pick, bool inKeys,
        int dim = 9, (int, int)[]? lengths = null, int position = 33)
    {
        const int Sequence = 1;
        lengths ??= Lengths;
        AttentionRun clean = Make(dtype, left, right, masked, dim, lengths).Prepare().Run();
        AttentionRun run = Make(dtype, left, right, masked, dim, lengths);
        run.RandomSeed = clean.RandomSeed;
        run.Prepare();
        NativeRows target = pick(run);
        int offset = lengths.Take(Sequence).Sum(l => inKeys ? l.Item2 : l.Item1);
        target[offset + position, 0, target.Dim - 1] = poison;
        run.Run();

        bool backwardOnly = ReferenceEquals(target, run.DOutput) || ReferenceEquals(target, run.DLogSumExp);
        (int query, int key) = (0, 0);
        for (int s = 0; s < lengths.Length; s++)
        {
            (int queries, int keys) = lengths[s];
            for (int h = 0; h < Heads; h++)
            {
                bool hit = s == Sequence && h == 0;
                // Rows whose forward result is touched, then the keys that those rows see.
                bool[] touched = [.. Enumerable.Range(0, queries).Select(i => hit && (inKeys ? Sees(run, s, i, position) : i == position))];
                bool[] reached = [.. Enumerable.Range(0, keys).Select(j => Enumerable.Range(0, queries).Any(i => touched[i] && Sees(run, s, i, j)))];
                for (int i = 0; i < queries; i++)
                {
                    Compare("output", clean.Output, run.Output, query + i, h, touched[i] && !backwardOnly);
                    Compare("lse", clean.LogSumExp, run.LogSumExp, query + i, h, touched[i] && !backwardOnly);
                    Compare("dQuery", clean.DQuery, run.DQuery, query + i, h, touched[i]);
                }
                for (int j = 0; j < keys; j++)
                {
                    Compare("dKey", clean.DKey, run.DKey, key + j, h, reached[j]);
                    Compare("dValue", clean.DValue, run.DValue, key + j, h, reached[j]);
                }
                if (hit && double.IsNaN(poison)) AssertPoisoned(run, query, touched);
            }
            query += queries;
            key += keys;
        }

        void Compare(string what, NativeRows expected, NativeRows actual, int token, int head, bool mayDiffer)
        {
            for (int f = 0; f < expected.Dim && !mayDiffer; f++)
            {
                double e = expected[token, head, f], a = actual[token, head, f];
                double tolerance = dtype == DType.BFloat16 ? 0.02 : 2e-5;
                Assert.True(e.Equals(a) || Math.Abs(e - a) <= tolerance * Math.Max(1, Math.Abs(e)),
                    $"seed {run.RandomSeed}: {what}[{token}, {head}, {f}] was {e} and became {a}; {run.Describe()}");
            }
        }
    }

    // The poison must have had an effect, or the test shows nothing.
    private static void AssertPoisoned(AttentionRun run, int query, bool[] touched)
    {
        bool any = false;
        for (int i = 0; i < touched.Length; i++)
            if (touched[i])
                for (int f = 0; f < run.Dim; f++)
                    any |= double.IsNaN(run.Output[query + i, 0, f]) || double.IsNaN(run.DQuery[query + i, 0, f]);
        Assert.True(any, $"seed {run.RandomSeed}: the poison went nowhere");
    }

    private static bool Sees(AttentionRun run, int sequence, int i, int j)
    {
        (int queries, int keys) = run.Lengths[sequence];
        (int first, int end) = run.Window.Range(i, keys - queries, keys);
        int query = run.Lengths.Take(sequence).Sum(l => l.Item1), key = run.Lengths.Take(sequence).Sum(l => l.Item2);
        return j >= first && j < end && (run.Mask is null || !float.IsNegativeInfinity(run.Mask[0, query + i, key + j]));
    }

    private static AttentionRun Make(DType dtype, int left, int right, bool masked, int dim, (int, int)[] lengths)
    {
        var run = new AttentionRun
        {
            DType = dtype, Window = new AttentionWindow(left, right), Lengths = lengths, Dim = dim, QueryHeads = Heads, KeyHeads = Heads,
            Scale = 1 / Math.Sqrt(dim), Threads = 2,
        };
        if (!masked) return run;
        run.Mask = new float[1, run.QueryTokens, run.KeyTokens];
        for (int i = 0; i < run.QueryTokens; i++)
            for (int j = 0; j < run.KeyTokens; j++)
                run.Mask[0, i, j] = (i + j) % 3 == 0 ? float.NegativeInfinity : 0.1f * (j % 5);
        return run;
    }
}
