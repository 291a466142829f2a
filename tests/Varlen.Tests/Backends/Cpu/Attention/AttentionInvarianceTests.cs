using Xunit;

namespace Varlen.Tests.Backends.Cpu.Attention;

/// <summary>The bits of a row depend on its own sequence only.</summary>
public class AttentionInvarianceTests
{
    private static readonly (int, int)[] Lengths = [(37, 37), (1, 1), (130, 130), (48, 60), (0, 5), (64, 64), (5, 2), (300, 300), (16, 16)];

    public static TheoryData<DType, int, int, double> Cases => new()
    {
        { DType.Float32, -1, -1, 0 }, { DType.Float32, -1, 0, 0.2 }, { DType.Float32, 20, 7, 0 },
        { DType.BFloat16, -1, 0, 0 }, { DType.Float64, -1, 0, 0.2 },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void Each_sequence_alone_gives_the_same_bits(DType dtype, int left, int right, double dropout)
    {
        AttentionRun packed = Make(dtype, left, right, dropout, Lengths).Prepare().Run();
        (int query, int key) = (0, 0);
        for (int s = 0; s < Lengths.Length; s++)
        {
            AttentionRun alone = Make(dtype, left, right, dropout, [Lengths[s]]);
            alone.Documents = [packed.Documents![s]];
            alone.Prepare();
            CopySequence(packed, query, key, alone, 0, 0, Lengths[s]);
            alone.Run();
            AssertSameBits(packed, query, key, alone, 0, 0, Lengths[s]);
            query += Lengths[s].Item1;
            key += Lengths[s].Item2;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Permuting_sequences_permutes_results(DType dtype, int left, int right, double dropout)
    {
        AttentionRun first = Make(dtype, left, right, dropout, Lengths).Prepare().Run();
        int[] order = [.. Enumerable.Range(0, Lengths.Length)];
        new Random(first.RandomSeed).Shuffle(order);
        AttentionRun second = Make(dtype, left, right, dropout, [.. order.Select(s => Lengths[s])]);
        second.Documents = [.. order.Select(s => first.Documents![s])];
        second.Prepare();
        (int, int)[] from = [.. order.Select(s => (Lengths.Take(s).Sum(l => l.Item1), Lengths.Take(s).Sum(l => l.Item2)))];
        (int query, int key) = (0, 0);
        for (int i = 0; i < order.Length; i++)
        {
            CopySequence(first, from[i].Item1, from[i].Item2, second, query, key, Lengths[order[i]]);
            query += Lengths[order[i]].Item1;
            key += Lengths[order[i]].Item2;
        }
        second.Run();
        (query, key) = (0, 0);
        for (int i = 0; i < order.Length; i++)
        {
            AssertSameBits(first, from[i].Item1, from[i].Item2, second, query, key, Lengths[order[i]]);
            query += Lengths[order[i]].Item1;
            key += Lengths[order[i]].Item2;
        }
    }

    [Theory]
    [InlineData(DType.Float32, 64)]
    [InlineData(DType.Float32, 256)]
    [InlineData(DType.BFloat16, 64)]
    [InlineData(DType.Float64, 16)]
    public void The_number_of_threads_changes_no_bit(DType dtype, int dim)
    {
        (int, int)[] lengths = [(40, 40), (600, 1100), (7, 7), (3, 3), (90, 90)];
        AttentionRun? one = null;
        for (int threads = 1; threads <= 3; threads++)
        {
            AttentionRun run = Make(dtype, -1, 0, 0, lengths, dim);
            run.Threads = threads;
            if (one is not null) run.RandomSeed = one.RandomSeed;
            run.Prepare().Run();
            if (one is not null) AssertSameBits(one, 0, 0, run, 0, 0, (run.QueryTokens, run.KeyTokens));
            one ??= run;
        }
    }

    private static AttentionRun Make(DType dtype, int left, int right, double dropout, (int, int)[] lengths, int dim = 24) => new()
    {
        DType = dtype, Window = new AttentionWindow(left, right), Dropout = dropout, Lengths = lengths, Dim = dim, QueryHeads = 2, KeyHeads = 1,
        Threads = 2, Documents = [.. Enumerable.Range(0, lengths.Length).Select(i => 1000ul + ((ulong)i << 33))], Scale = 1 / Math.Sqrt(dim),
    };

    private static void CopySequence(AttentionRun from, int fromQuery, int fromKey, AttentionRun to, int toQuery, int toKey, (int Queries, int Keys) length)
    {
        Copy(from.Query, fromQuery, to.Query, toQuery, length.Queries);
        Copy(from.DOutput, fromQuery, to.DOutput, toQuery, length.Queries);
        Copy(from.DLogSumExp, fromQuery, to.DLogSumExp, toQuery, length.Queries);
        Copy(from.Key, fromKey, to.Key, toKey, length.Keys);
        Copy(from.Value, fromKey, to.Value, toKey, length.Keys);
    }

    private static void Copy(NativeRows from, int fromToken, NativeRows to, int toToken, int count)
    {
        for (int t = 0; t < count; t++)
            for (int h = 0; h < from.Heads; h++)
                for (int f = 0; f < from.Dim; f++) to[toToken + t, h, f] = from[fromToken + t, h, f];
    }

    private static void AssertSameBits(AttentionRun a, int queryA, int keyA, AttentionRun b, int queryB, int keyB, (int Queries, int Keys) length)
    {
        Same("output", a.Output, queryA, b.Output, queryB, length.Queries);
        Same("lse", a.LogSumExp, queryA, b.LogSumExp, queryB, length.Queries);
        Same("dQuery", a.DQuery, queryA, b.DQuery, queryB, length.Queries);
        Same("dKey", a.DKey, keyA, b.DKey, keyB, length.Keys);
        Same("dValue", a.DValue, keyA, b.DValue, keyB, length.Keys);

        void Same(string what, NativeRows x, int tokenX, NativeRows y, int tokenY, int count)
        {
            for (int t = 0; t < count; t++)
                for (int h = 0; h < x.Heads; h++)
                    Assert.True(x.Bits(tokenX + t, h).AsSpan().SequenceEqual(y.Bits(tokenY + t, h)), $"seed {a.RandomSeed}: {what} of token {t}, head {h} differs; {b.Describe()}");
        }
    }
}
