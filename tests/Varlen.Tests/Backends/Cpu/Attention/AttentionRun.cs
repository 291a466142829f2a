using Varlen.Backends.Cpu;
using Varlen.Backends.Cpu.Attention;
using Varlen.Tests.Reference;
using Xunit;

namespace Varlen.Tests.Backends.Cpu.Attention;

/// <summary>One attention call with all its tensors, forward and backward, and its comparison with the dense oracle.</summary>
internal sealed unsafe class AttentionRun
{
    public int QueryHeads = 2, KeyHeads = 2, Dim = 16;
    public (int Queries, int Keys)[] Lengths = [(5, 5)];
    public AttentionWindow Window = AttentionWindow.Full;
    public AttentionAlignment Alignment = AttentionAlignment.BottomRight;
    public double Softcap, Dropout, Scale = 0.35, InputSize = 1;
    public float[]? Slopes;
    /// <summary>[query heads or 1, query tokens or 1, key tokens]: added to scores, minus infinity hides.</summary>
    public float[,,]? Mask;
    public bool BooleanMask;
    public DType DType = DType.Float32;
    public DType GradientType = DType.Float32;
    public bool Accumulate, HasDOutput = true, HasDLse = true;
    public bool WantsDQuery = true, WantsDKey = true, WantsDValue = true;
    public NativeRows.Layout Layout = NativeRows.Layout.Fused;
    public int Threads = 1;
    public ulong Seed = 0x1234567890ABCDEF;
    public long Step = (3L << 32) | 17;
    public int Layer = 5;
    public ulong[]? Documents;
    public int RandomSeed = Random.Shared.Next();

    public NativeRows Query = null!, Key = null!, Value = null!, Output = null!, LogSumExp = null!, DOutput = null!, DLogSumExp = null!;
    public NativeRows DQuery = null!, DKey = null!, DValue = null!;
    private NativeRows? _dQueryBefore, _dKeyBefore, _dValueBefore;

    public int QueryTokens => Lengths.Sum(l => l.Queries);
    public int KeyTokens => Lengths.Sum(l => l.Keys);

    private DType StatisticsType => DType == DType.Float64 ? DType.Float64 : DType.Float32;

    /// <summary>Makes fresh random inputs.</summary>
    public AttentionRun Prepare()
    {
        var random = new Random(RandomSeed);
        Query = new NativeRows(DType, QueryTokens, QueryHeads, Dim, Layout).FillRandom(random, 2 * InputSize);
        Key = new NativeRows(DType, KeyTokens, KeyHeads, Dim, Layout).FillRandom(random, 2 * InputSize);
        Value = new NativeRows(DType, KeyTokens, KeyHeads, Dim, Layout).FillRandom(random);
        DOutput = new NativeRows(DType, QueryTokens, QueryHeads, Dim, Layout).FillRandom(random);
        DLogSumExp = new NativeRows(StatisticsType, QueryTokens, QueryHeads, 1, NativeRows.Layout.PerHead).FillRandom(random);
        return Reset(random);
    }

    /// <summary>Fresh destinations: NaN, or random values to add to.</summary>
    public AttentionRun Reset(Random? random = null)
    {
        Output = new NativeRows(DType, QueryTokens, QueryHeads, Dim, Layout);
        LogSumExp = new NativeRows(StatisticsType, QueryTokens, QueryHeads, 1, NativeRows.Layout.PerHead);
        DType gradientType = DType == DType.Float64 ? DType.Float64 : GradientType;
        (DQuery, _dQueryBefore) = Destination(gradientType, QueryTokens, QueryHeads, random);
        (DKey, _dKeyBefore) = Destination(gradientType, KeyTokens, KeyHeads, random);
        (DValue, _dValueBefore) = Destination(gradientType, KeyTokens, KeyHeads, random);
        return this;
    }

    private (NativeRows, NativeRows?) Destination(DType dtype, int tokens, int heads, Random? random)
    {
        var rows = new NativeRows(dtype, tokens, heads, Dim, Layout);
        if (!Accumulate) return (rows, null);
        int seed = (random ?? new Random(1)).Next();
        rows.FillRandom(new Random(seed));
        return (rows, new NativeRows(dtype, tokens, heads, Dim, Layout).FillRandom(new Random(seed)));
    }

    public AttentionRun Run(bool backward = true)
    {
        using var team = new ThreadTeam(Threads);
        AttentionSequence[] sequences = Sequences();
        fixed (AttentionSequence* first = sequences)
        fixed (double* slopes = Slopes is null ? null : Array.ConvertAll(Slopes, slope => (double)slope))
        fixed (float* mask = Mask)
        {
            byte[]? visible = Mask is not null && BooleanMask ? [.. Mask.Cast<float>().Select(m => (byte)(float.IsNegativeInfinity(m) ? 0 : 1))] : null;
            double[]? wide = Mask is not null && DType == DType.Float64 ? [.. Mask.Cast<float>().Select(m => (double)m)] : null;
            fixed (byte* visibleMask = visible)
            fixed (double* wideMask = wide)
            {
                var problem = new AttentionProblem
                {
                    QueryHeads = QueryHeads, KeyHeads = KeyHeads, HeadDim = Dim, Sequences = first, SequenceCount = sequences.Length,
                    Window = Window, Alignment = Alignment, Scale = Scale, Softcap = Softcap, AlibiSlopes = slopes,
                    Dropout = Dropout, DropoutSeed = Seed, DropoutStep = Step, DropoutLayer = Layer,
                };
                if (Mask is not null)
                {
                    long queries = Mask.GetLength(1), keys = Mask.GetLength(2);
                    problem.Mask = new AttentionMask
                    {
                        Data = visible is not null ? visibleMask : wide is not null ? wideMask : mask,
                        DType = visible is not null ? DType.Bool : wide is not null ? DType.Float64 : DType.Float32,
                        HeadStride = Mask.GetLength(0) == 1 ? 0 : queries * keys, QueryStride = queries == 1 ? 0 : keys, KeyStride = 1,
                    };
                }
                CpuAttention.Forward(team, problem, Query.Operand(), Key.Operand(), Value.Operand(), Output.Operand(), LogSumExp.Operand());
                if (!backward) return this;
                CpuAttention.Backward(team, problem, Query.Operand(), Key.Operand(), Value.Operand(), Output.Operand(), LogSumExp.Operand(),
                    HasDOutput ? DOutput.Operand() : default, HasDLse ? DLogSumExp.Operand() : default,
                    WantsDQuery ? DQuery.Operand(Accumulate) : default, WantsDKey ? DKey.Operand(Accumulate) : default,
                    WantsDValue ? DValue.Operand(Accumulate) : default);
            }
        }
        return this;
    }

    private AttentionSequence[] Sequences()
    {
        var sequences = new AttentionSequence[Lengths.Length];
        (long query, long key) = (0, 0);
        for (int i = 0; i < Lengths.Length; i++)
        {
            sequences[i] = new AttentionSequence
            {
                QueryToken = query, KeyToken = key, QueryLength = Lengths[i].Queries, KeyLength = Lengths[i].Keys, DocumentKey = DocumentKey(i),
            };
            query += Lengths[i].Queries;
            key += Lengths[i].Keys;
        }
        return sequences;
    }

    private ulong DocumentKey(int sequence) => Documents is null ? 0xABCDEF0000000000u + (ulong)sequence : Documents[sequence];

    private enum Kind
    {
        Output,
        LogSumExp,
        Gradient,
    }

    /// <summary>Asserts that all results are within the tolerances of the dtype, and nothing around them was written.</summary>
    public void AssertMatchesDense(bool backward = true)
    {
        double maximum = 0;
        var worst = new (double Error, string What)[3];
        (int query, int key) = (0, 0);
        for (int s = 0; s < Lengths.Length; s++)
        {
            (int queries, int keys) = Lengths[s];
            var dKeys = new double[KeyHeads][,];
            var dValues = new double[KeyHeads][,];
            for (int h = 0; h < QueryHeads; h++)
            {
                int kh = h / (QueryHeads / KeyHeads);
                DenseAttention dense = Dense(s, h, query, key).Forward();
                CompareRows(Kind.Output, "output", dense.Output, Output, query, h, null);
                for (int i = 0; i < queries; i++) CompareValue(Kind.LogSumExp, "lse", dense.LogSumExp[i], LogSumExp[query + i, h], query + i, h, 0);
                if (!backward) continue;
                var dLse = new double[queries];
                for (int i = 0; HasDLse && i < queries; i++) dLse[i] = DLogSumExp[query + i, h];
                dense.Backward(Matrix(DOutput, query, queries, h, HasDOutput), dLse,
                    DType is DType.BFloat16 or DType.Float16 ? Matrix(Output, query, queries, h) : null);
                if (WantsDQuery) CompareRows(Kind.Gradient, "dQuery", dense.DQuery, DQuery, query, h, _dQueryBefore);
                dKeys[kh] = Add(dKeys[kh], dense.DKey);
                dValues[kh] = Add(dValues[kh], dense.DValue);
            }
            for (int kh = 0; backward && kh < KeyHeads; kh++)
            {
                if (WantsDKey) CompareRows(Kind.Gradient, "dKey", dKeys[kh], DKey, key, kh, _dKeyBefore);
                if (WantsDValue) CompareRows(Kind.Gradient, "dValue", dValues[kh], DValue, key, kh, _dValueBefore);
            }
            query += queries;
            key += keys;
        }

        foreach (Kind kind in Enum.GetValues<Kind>())
        {
            (double error, string what) = worst[(int)kind];
            double tolerance = Tolerance(kind, Math.Max(1, maximum));
            Assert.True(error <= tolerance, $"seed {RandomSeed}: {what}, off by {error}, allowed {tolerance}; {Describe()}");
        }
        foreach (NativeRows rows in new[] { Query, Key, Value, Output, LogSumExp, DOutput, DLogSumExp, DQuery, DKey, DValue })
            Assert.True(rows.SurroundingsUntouched(), $"seed {RandomSeed}: something was written outside of its operand; {Describe()}");

        void CompareRows(Kind kind, string what, double[,] expected, NativeRows actual, int token, int head, NativeRows? before)
        {
            for (int i = 0; i < expected.GetLength(0); i++)
                for (int f = 0; f < Dim; f++)
                    CompareValue(kind, what, expected[i, f] + (before is null ? 0 : before[token + i, head, f]), actual[token + i, head, f], token + i, head, f);
        }

        void CompareValue(Kind kind, string what, double expected, double actual, int token, int head, int feature)
        {
            if (double.IsFinite(expected)) maximum = Math.Max(maximum, Math.Abs(expected));
            if (expected.Equals(actual)) return;
            double error = double.IsFinite(expected - actual) ? Math.Abs(expected - actual) : double.PositiveInfinity;
            if (error > worst[(int)kind].Error) worst[(int)kind] = (error, $"{what}[{token}, {head}, {feature}] is {actual} and should be {expected}");
        }
    }

    private double Tolerance(Kind kind, double maximum)
    {
        if (DType == DType.Float64) return 1e-9 * maximum;
        double tolerance = 3e-5 * maximum;
        // Whatever is stored in 16 bits is rounded once.
        if (kind == Kind.Output) tolerance += RoundingOf(DType) * maximum;
        if (kind == Kind.Gradient) tolerance += RoundingOf(GradientType) * maximum;
        return tolerance;
    }

    // Half a unit in the last place, relative.
    private static double RoundingOf(DType dtype) => dtype switch { DType.BFloat16 => 1.0 / 256, DType.Float16 => 1.0 / 2048, _ => 0 };

    public string Describe()
        => $"heads {QueryHeads}/{KeyHeads}, dim {Dim}, lengths {string.Join(' ', Lengths.Take(20))}, window {Window}, {Alignment}, softcap {Softcap}, "
            + $"dropout {Dropout}, slopes {Slopes is not null}, mask {Mask is not null}, {DType}/{GradientType}, {Layout}, threads {Threads}";

    private DenseAttention Dense(int sequence, int head, int query, int key)
    {
        (int queries, int keys) = Lengths[sequence];
        double[,]? mask = null;
        if (Mask is not null)
        {
            mask = new double[queries, keys];
            for (int i = 0; i < queries; i++)
                for (int j = 0; j < keys; j++)
                {
                    float value = Mask[Mask.GetLength(0) == 1 ? 0 : head, Mask.GetLength(1) == 1 ? 0 : query + i, key + j];
                    mask[i, j] = BooleanMask && !float.IsNegativeInfinity(value) ? 0 : value;
                }
        }
        int keyHead = head / (QueryHeads / KeyHeads);
        return new DenseAttention
        {
            Query = Matrix(Query, query, queries, head), Key = Matrix(Key, key, keys, keyHead), Value = Matrix(Value, key, keys, keyHead),
            Left = Window.Left, Right = Window.Right, TopLeft = Alignment == AttentionAlignment.TopLeft, Scale = Scale, Softcap = Softcap,
            Slope = Slopes is null ? 0 : Slopes[head], Mask = mask, Dropout = Dropout,
            Stream = (Seed, Step, Layer, DocumentKey(sequence), head),
        };
    }

    private double[,] Matrix(NativeRows rows, int token, int count, int head, bool present = true)
    {
        var matrix = new double[count, Dim];
        for (int i = 0; i < count && present; i++)
            for (int f = 0; f < Dim; f++) matrix[i, f] = rows[token + i, head, f];
        return matrix;
    }

    private static double[,] Add(double[,]? sum, double[,] other)
    {
        if (sum is null) return other;
        for (int i = 0; i < other.GetLength(0); i++)
            for (int f = 0; f < other.GetLength(1); f++) sum[i, f] += other[i, f];
        return sum;
    }
}
