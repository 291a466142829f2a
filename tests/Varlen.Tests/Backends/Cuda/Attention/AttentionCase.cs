using Varlen.Backends.Cuda;
using Varlen.Ops;
using Varlen.Optim;
using Varlen.Tests.Reference;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Backends.Cuda.Attention;

/// <summary>
/// One packed call of attention on a fused projection, run on CUDA and, in double precision, on the CPU: same inputs, rounded to the type
/// under test.
/// </summary>
internal sealed class AttentionCase
{
    private const ulong StreamSeed = 0x1234567890ABCDEF;
    private const long Step = (3L << 32) | 17;
    private const int Layer = 5;

    /// <summary>Lengths about the edges of tiles of 64 and 128, some with nothing on a side.</summary>
    public static readonly (int Queries, int Keys)[] TileEdges = [(33, 33), (63, 65), (64, 64), (0, 70), (65, 63), (127, 129), (128, 128), (40, 0), (129, 127), (191, 193), (5, 40)];

    /// <summary>Bounds of windows from a single key to all, for sequences of a few hundred tokens.</summary>
    public static TheoryData<int, int> Windows => new() { { 0, 0 }, { 1, 0 }, { 0, 1 }, { 8, 2 }, { -1, 4 }, { 140, -1 }, { 200, 130 }, { int.MaxValue, int.MaxValue } };

    public required (int Queries, int Keys)[] Lengths { get; init; }
    public int QueryHeads { get; init; } = 2;
    public int KeyHeads { get; init; } = 1;
    public int Dim { get; init; } = 32;
    public DType DType { get; init; } = DType.Float32;
    public AttentionWindow Window { get; init; } = AttentionWindow.Full;
    public AttentionAlignment Alignment { get; init; } = AttentionAlignment.BottomRight;
    public double? Softcap { get; init; }
    public double? Scale { get; init; }
    public bool HasSlopes { get; init; }
    public double Dropout { get; init; }
    public ulong[]? Documents { get; init; }
    /// <summary>Tokens of no sequence at the end of queries and keys.</summary>
    public int Tail { get; init; }
    public int Seed { get; init; } = Numeric.FreshSeed();
    /// <summary>Query, key, value and gradients of output and log-sum-exp in place of random ones.</summary>
    public (double[] Query, double[] Key, double[] Value, double[] DOutput, double[] DLse)? Given { get; init; }
    /// <summary>Leaves out all kernels but the portable ones.</summary>
    public bool IsPortable { get; init; }
    /// <summary>Leaves out kernels whose sums have no fixed order.</summary>
    public bool IsDeterministic { get; init; }
    /// <summary>Changes values before the call.</summary>
    public Action<double[], double[], double[], double[]>? Poison { get; init; }

    private int QueryTokens => Lengths.Sum(l => l.Queries) + Tail;
    private int KeyTokens => Lengths.Sum(l => l.Keys) + Tail;

    /// <summary>Results as doubles: output, log-sum-exp, gradients of query, key and value.</summary>
    internal sealed record Results(double[] Output, double[] Lse, double[] DQuery, double[] DKey, double[] DValue);

    public Results Run(Device device, DType? dtype = null)
    {
        using PortableKernels? only = IsPortable && device != Device.Cpu ? new PortableKernels(device) : null;
        return RunHere(device, dtype);
    }

    private Results RunHere(Device device, DType? dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        DType type = dtype ?? DType;
        using var state = new StepState(device, StreamSeed);
        state.Begin(Step, 0.1);
        (double[] q, double[] k, double[] v, double[] dy, double[] dl) = Inputs();
        // Keys and values are slices of wider rows, as of a fused projection.
        Tensor queries = Make(q, [QueryTokens, QueryHeads * Dim], type, device), keyValues = Make(Interleave(k, v, KeyTokens, KeyHeads * Dim), [KeyTokens, 2 * KeyHeads * Dim], type, device);
        queries.RequiresGrad = keyValues.RequiresGrad = true;
        Tensor[] parts = keyValues.View(KeyTokens, 2 * KeyHeads, Dim).Chunk(2, dimension: 1);
        using SequenceLayout queryLayout = Layout(Lengths.Select(l => l.Queries)), keyLayout = Layout(Lengths.Select(l => l.Keys));
        var options = new AttentionOptions
        {
            Window = Window, Alignment = Alignment, Softcap = Softcap, Scale = Scale, Deterministic = IsDeterministic, TailPolicy = Tail > 0 ? TailPolicy.Padding : TailPolicy.Error,
            AlibiSlopes = HasSlopes ? Tensor.From([.. Enumerable.Range(0, QueryHeads).Select(h => 0.05f * (h + 1))], [QueryHeads], device) : null,
            Dropout = Dropout > 0 ? new AttentionDropout(Dropout, state, Layer) : null,
        };
        (Tensor output, Tensor lse) = F.VarlenAttentionWithLse(queries.View(QueryTokens, QueryHeads, Dim), parts[0], parts[1], queryLayout, keyLayout, options);
        Tensor outputGradient = Make(dy, output.Shape, type, device), lseGradient = Make(dl, lse.Shape, lse.DType, device);
        Backward(output, lse, outputGradient, lseGradient);
        double[] both = Zeros(keyValues);
        return new(output.ToArray<double>(), lse.ToArray<double>(), Zeros(queries), Slice(both, KeyTokens, KeyHeads * Dim, 0), Slice(both, KeyTokens, KeyHeads * Dim, 1));
    }

    /// <summary>Runs on both devices and compares.</summary>
    public AttentionCase AssertMatchesReference()
    {
        Results expected = Run(Device.Cpu, DType.Float64), actual = Run(TestDevices.Cuda());
        bool isSingle = DType == DType.Float32;
        (double forward, double backward) = isSingle ? (3e-5, 1e-4) : (0, 0);
        Results? rounded = isSingle ? null : Rounded();
        Close("output", expected.Output, actual.Output, forward, rounded?.Output);
        Close("lse", expected.Lse, actual.Lse, 3e-5, null);
        Close("query gradient", expected.DQuery, actual.DQuery, backward, rounded?.DQuery);
        Close("key gradient", expected.DKey, actual.DKey, backward, rounded?.DKey);
        Close("value gradient", expected.DValue, actual.DValue, backward, rounded?.DValue);
        return this;
    }

    /// <summary>
    /// Compares with single precision on the same device, which is itself compared with double precision elsewhere: for many and for large cases, where the
    /// reference of the CPU takes too long. 16-bit types only.
    /// </summary>
    public AttentionCase AssertNearSinglePrecision()
    {
        Device device = TestDevices.Cuda();
        Results expected = Run(device, DType.Float32), actual = Run(device);
        // Of the largest value: weights and results are rounded by 2^-9 each in bf16 and errors of one row's weights add up, which a factor of two covers; in
        // gradients the scores' gradient is rounded too.
        Near("output", expected.Output, actual.Output, 1.0 / 128);
        Near("lse", expected.Lse, actual.Lse, 1e-4);
        Near("query gradient", expected.DQuery, actual.DQuery, 1.0 / 64);
        Near("key gradient", expected.DKey, actual.DKey, 1.0 / 64);
        Near("value gradient", expected.DValue, actual.DValue, 1.0 / 64);
        return this;

        void Near(string what, double[] e, double[] a, double relative)
        {
            double limit = relative * Math.Max(1, e.Where(double.IsFinite).Select(Math.Abs).DefaultIfEmpty().Max());
            for (int i = 0; i < e.Length; i++)
                if (!(Math.Abs(e[i] - a[i]) <= limit) && !e[i].Equals(a[i])) Assert.Fail($"seed {Seed}, {what} at {i}: single precision {e[i]:R}, got {a[i]:R}, allowed {limit:G3}; {this}");
        }
    }

    public (double[] Query, double[] Key, double[] Value, double[] DOutput, double[] DLse) Inputs()
    {
        if (Given is { } given) return given;
        var random = new Random(Seed);
        double[] Draw(int count, DType type) => [.. Enumerable.Range(0, count).Select(_ => Round((random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5) * 2, type))];
        double[] q = Draw(QueryTokens * QueryHeads * Dim, DType), k = Draw(KeyTokens * KeyHeads * Dim, DType), v = Draw(KeyTokens * KeyHeads * Dim, DType);
        double[] dy = Draw(QueryTokens * QueryHeads * Dim, DType), dl = Draw(QueryTokens * QueryHeads, DType.Float32);
        Poison?.Invoke(q, k, v, dy);
        return (q, k, v, dy, dl);
    }

    public static double Round(double x, DType type) => type switch
    {
        DType.BFloat16 => (double)(BFloat16)x,
        DType.Float16 => (double)(Half)x,
        DType.Float32 => (float)x,
        _ => x,
    };

    private void Close(string what, double[] expected, double[] actual, double relative, double[]? rounded)
    {
        Assert.Equal(expected.Length, actual.Length);
        double scale = Math.Max(1, expected.Where(double.IsFinite).Select(Math.Abs).DefaultIfEmpty().Max());
        double limit = relative * scale;
        if (rounded is not null)
        {
            double unit = DType == DType.BFloat16 ? 1.0 / 256 : 1.0 / 2048;
            limit = 2 * expected.Zip(rounded, (e, r) => double.IsFinite(e - r) ? Math.Abs(e - r) : 0).DefaultIfEmpty().Max() + 2 * unit * scale;
        }
        for (int i = 0; i < expected.Length; i++)
            if (!(Math.Abs(expected[i] - actual[i]) <= limit) && !expected[i].Equals(actual[i]))
                Assert.Fail($"seed {Seed}, {what} at {i}: expected {expected[i]:R}, got {actual[i]:R}, allowed {limit:G3}; {this}");
    }

    public override string ToString() => $"{DType}, heads {QueryHeads}/{KeyHeads}, dim {Dim}, lengths {string.Join(' ', Lengths)}, window {Window}, {Alignment}, softcap {Softcap}, slopes {HasSlopes}, dropout {Dropout}, tail {Tail}";

    private SequenceLayout Layout(IEnumerable<int> lengths)
    {
        SequenceLayout layout = SequenceLayout.FromLengths([.. lengths]);
        return Documents is null ? layout : layout.WithDocumentKeys(Documents);
    }

    // One root over both results, so that one backward pass sees them together.
    private static void Backward(Tensor output, Tensor lse, Tensor outputGradient, Tensor lseGradient)
        => Op.Record("both", Tensor.Zeros([], output.DType, output.Device), [output, lse], [outputGradient, lseGradient], pass =>
        {
            pass.PassThrough(0, pass.Saved(0));
            pass.PassThrough(1, pass.Saved(1));
        }).Backward();

    // The same computation done densely in the type under test: what its results may be off by.
    private Results Rounded()
    {
        (double[] q, double[] k, double[] v, double[] dy, double[] dl) = Inputs();
        var results = new Results(new double[q.Length], [], new double[q.Length], new double[k.Length], new double[v.Length]);
        (int query, int key, int group) = (0, 0, QueryHeads / KeyHeads);
        for (int s = 0; s < Lengths.Length; s++)
        {
            (int queries, int keys) = Lengths[s];
            for (int h = 0; h < QueryHeads; h++)
            {
                DenseAttention dense = new DenseAttention
                {
                    Query = Head(q, query, queries, QueryHeads, h), Key = Head(k, key, keys, KeyHeads, h / group), Value = Head(v, key, keys, KeyHeads, h / group),
                    Left = Window.Left, Right = Window.Right, TopLeft = Alignment == AttentionAlignment.TopLeft, Scale = Scale ?? 1 / Math.Sqrt(Dim), Softcap = Softcap ?? 0,
                    Slope = HasSlopes ? 0.05f * (h + 1) : 0, Dropout = Dropout, Stream = (StreamSeed, Step, Layer, Documents?[s] ?? (ulong)s, h), Rounding = x => Round(x, DType),
                }.Forward().Backward(Head(dy, query, queries, QueryHeads, h), [.. Enumerable.Range(0, queries).Select(i => dl[h * QueryTokens + query + i])]);
                Add(results.Output, dense.Output, query, QueryHeads, h);
                Add(results.DQuery, dense.DQuery, query, QueryHeads, h);
                Add(results.DKey, dense.DKey, key, KeyHeads, h / group);
                Add(results.DValue, dense.DValue, key, KeyHeads, h / group);
            }
            query += queries;
            key += keys;
        }
        foreach (double[] result in new[] { results.Output, results.DQuery, results.DKey, results.DValue })
            for (int i = 0; i < result.Length; i++) result[i] = Round(result[i], DType);
        return results;
    }

    private double[,] Head(double[] x, int token, int count, int heads, int head)
    {
        var matrix = new double[count, Dim];
        for (int i = 0; i < count; i++)
            for (int f = 0; f < Dim; f++) matrix[i, f] = x[((token + i) * heads + head) * Dim + f];
        return matrix;
    }

    private void Add(double[] x, double[,] matrix, int token, int heads, int head)
    {
        for (int i = 0; i < matrix.GetLength(0); i++)
            for (int f = 0; f < Dim; f++) x[((token + i) * heads + head) * Dim + f] += matrix[i, f];
    }

    private static Tensor Make(double[] values, Shape shape, DType type, Device device) => Tensor.From(values, shape).To(dtype: type).To(device);

    private static double[] Zeros(Tensor leaf) => leaf.Grad?.ToArray<double>() ?? new double[leaf.Count];

    private static double[] Interleave(double[] x, double[] y, int tokens, int width)
    {
        var both = new double[2 * tokens * width];
        for (int t = 0; t < tokens; t++)
        {
            x.AsSpan(t * width, width).CopyTo(both.AsSpan(2 * t * width));
            y.AsSpan(t * width, width).CopyTo(both.AsSpan((2 * t + 1) * width));
        }
        return both;
    }

    private static double[] Slice(double[] both, int tokens, int width, int part)
    {
        var slice = new double[tokens * width];
        for (int t = 0; t < tokens; t++) both.AsSpan((2 * t + part) * width, width).CopyTo(slice.AsSpan(t * width));
        return slice;
    }
}
