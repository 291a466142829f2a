using Varlen.Optim;
using Varlen.Tests.Reference;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class VarlenAttentionTests
{
    public static TheoryData<string> Cases => ["full", "causal", "window", "top-left", "scale+softcap", "alibi", "dropout", "everything"];

    private static AttentionOptions Options(string name, int heads, StepState state) => name switch
    {
        "full" => new(),
        "causal" => new() { Window = AttentionWindow.Causal },
        "window" => new() { Window = new(left: 2, right: 1) },
        "top-left" => new() { Window = new(left: 3, right: 0), Alignment = AttentionAlignment.TopLeft },
        "scale+softcap" => new() { Scale = 0.7, Softcap = 1.5 },
        "alibi" => new() { AlibiSlopes = Slopes(heads) },
        "dropout" => new() { Dropout = new(0.3, state, 5) },
        _ => new() { Window = new(left: 4, right: 2), Scale = 0.6, Softcap = 2, AlibiSlopes = Slopes(heads), Dropout = new(0.2, state, 1) },
    };

    private static Tensor Slopes(int heads) => Tensor.From(Enumerable.Range(0, heads).Select(h => 0.1f * (h + 1)).ToArray(), [heads]);

    /// <summary>Both results, unequal lengths with empty ones on either side, grouped heads.</summary>
    [Theory, MemberData(nameof(Cases))]
    public void GradientsMatchFiniteDifferences(string name)
    {
        using TensorScope scope = TensorScope.Begin();
        using var state = new StepState(seed: 9);
        state.Begin(3, 0.1);
        using SequenceLayout queries = SequenceLayout.FromLengths([3, 0, 1, 4]), keys = SequenceLayout.FromLengths([2, 3, 0, 5]);
        Tensor[] inputs = [Tensor.Randn([8, 4, 3], 1, DType.Float64), Tensor.Randn([10, 2, 3], 2, DType.Float64), Tensor.Randn([10, 2, 3], 3, DType.Float64)];
        GradCheck.RunAll(x =>
        {
            (Tensor output, Tensor lse) = F.VarlenAttentionWithLse(x[0], x[1], x[2], queries, keys, Options(name, 4, state));
            // Rows without a key have a log-sum-exp of -infinity; its difference is no number.
            return [output, Finite(lse)];
        }, inputs);
    }

    private static Tensor Finite(Tensor lse)
    {
        Tensor result = lse.Clone();
        double[] values = [.. lse.ToArray<double>().Select(x => double.IsFinite(x) ? x : 0)];
        result.CopyFrom(Tensor.From(values, lse.Shape));
        return Varlen.Ops.Op.Record("finite", result, [lse], [], pass => pass.PassThrough(0, pass.OutputGradient()!));
    }

    [Theory]
    [InlineData(DType.Float64, "everything")]
    [InlineData(DType.Float32, "everything")]
    [InlineData(DType.Float32, "causal")]
    [InlineData(DType.Float32, "full")]
    public void MatchesTheDenseOracleThroughAFusedProjection(DType dtype, string name)
    {
        int seed = Numeric.FreshSeed();
        using TensorScope scope = TensorScope.Begin();
        using var state = new StepState(seed: 17);
        state.Begin(2, 0.1);
        int[] lengths = [70, 1, 0, 33, 129];
        using SequenceLayout layout = SequenceLayout.FromLengths(lengths);
        const int heads = 3, dim = 20;
        int tokens = layout.TotalTokens;
        Tensor qkv = Tensor.Randn([tokens, 3 * heads * dim], (ulong)seed, DType.Float64).To(dtype: dtype);
        qkv.RequiresGrad = true;
        Tensor[] parts = qkv.View(tokens, 3 * heads, dim).Chunk(3, dimension: 1);
        AttentionOptions options = Options(name, heads, state);
        (Tensor output, Tensor lse) = F.VarlenAttentionWithLse(parts[0], parts[1], parts[2], layout, layout, options);
        Tensor outputGradient = Tensor.Randn(output.Shape, (ulong)seed + 1, DType.Float64).To(dtype: dtype);
        output.Backward(outputGradient);

        double[] all = qkv.ToArray<double>(), dy = outputGradient.ToArray<double>(), o = output.ToArray<double>(), l = lse.ToArray<double>(), gradient = qkv.Grad!.ToArray<double>();
        double limit = Numeric.Tolerance(dtype, 4);
        for (int s = 0; s < lengths.Length; s++)
            for (int h = 0; h < heads; h++)
            {
                int start = layout.CuSeqlens[s];
                double[,] Part(int part) => Matrix(lengths[s], dim, (i, f) => all[((start + i) * 3 * heads + part * heads + h) * dim + f]);
                DenseAttention expected = new DenseAttention
                {
                    Query = Part(0), Key = Part(1), Value = Part(2), Left = options.Window.Left, Right = options.Window.Right,
                    TopLeft = options.Alignment == AttentionAlignment.TopLeft, Scale = options.Scale ?? 1 / Math.Sqrt(dim), Softcap = options.Softcap ?? 0,
                    Slope = options.AlibiSlopes is { } slopes ? slopes.ToArray<double>()[h] : 0,
                    Dropout = options.Dropout?.Probability ?? 0, Stream = (17, 2, options.Dropout?.Layer ?? 0, (ulong)s, h),
                }.Forward().Backward(Matrix(lengths[s], dim, (i, f) => dy[((start + i) * heads + h) * dim + f]), new double[lengths[s]]);
                for (int i = 0; i < lengths[s]; i++)
                {
                    Close(expected.LogSumExp[i], l[h * tokens + start + i], $"lse of {i}");
                    for (int f = 0; f < dim; f++)
                    {
                        Close(expected.Output[i, f], o[((start + i) * heads + h) * dim + f], $"output of {i}");
                        Close(expected.DQuery[i, f], gradient[((start + i) * 3 * heads + h) * dim + f], $"query gradient of {i}");
                        Close(expected.DKey[i, f], gradient[((start + i) * 3 * heads + heads + h) * dim + f], $"key gradient of {i}");
                        Close(expected.DValue[i, f], gradient[((start + i) * 3 * heads + 2 * heads + h) * dim + f], $"value gradient of {i}");
                    }
                }

                void Close(double e, double a, string what) => Assert.True(Math.Abs(e - a) <= limit, $"seed {seed}, sequence {s}, head {h}, {what}: expected {e:R}, got {a:R}");
            }
    }

    private static double[,] Matrix(int rows, int columns, Func<int, int, double> value)
    {
        var matrix = new double[rows, columns];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++) matrix[i, j] = value(i, j);
        return matrix;
    }

    /// <summary>One query and two keys of score 0: the weights are those of the slope alone.</summary>
    [Fact]
    public void SlopesOfDoublePrecisionAreNotRounded()
    {
        using TensorScope scope = TensorScope.Begin();
        using SequenceLayout query = SequenceLayout.FromLengths([1]), key = SequenceLayout.FromLengths([2]);
        Tensor zero = Tensor.Zeros([2, 1, 1], DType.Float64), value = Tensor.From([1.0, 0], [2, 1, 1]);
        var options = new AttentionOptions { AlibiSlopes = Tensor.From([0.1], [1]) };
        Assert.Equal(1 / (1 + Math.Exp(0.1)), F.VarlenAttention(zero.Narrow(0, 0, 1), zero, value, query, key, options).Item(), 1e-14);
    }

    [Fact]
    public void TailTokensAreAnErrorOrExplicitPadding()
    {
        using TensorScope scope = TensorScope.Begin();
        using SequenceLayout layout = SequenceLayout.FromLengths([2, 3]);
        Tensor x = Tensor.Randn([7, 2, 4], 1);
        x.RequiresGrad = true;
        var e = Assert.Throws<ArgumentException>(() => F.VarlenAttention(x, x, x, layout));
        Assert.Contains("query has 7 tokens, but the layout's last offset is 5; the last 2 belong to no sequence", e.Message, StringComparison.Ordinal);
        (Tensor output, Tensor lse) = F.VarlenAttentionWithLse(x, x, x, layout, layout, new AttentionOptions { TailPolicy = TailPolicy.Padding });
        Assert.All(output.Narrow(0, 5, 2).ToArray<float>(), value => Assert.Equal(0, value));
        Assert.All(lse.Narrow(1, 5, 2).ToArray<float>(), value => Assert.Equal(float.NegativeInfinity, value));
        output.Backward(Tensor.Ones(output.Shape));
        Assert.All(x.Grad!.Narrow(0, 5, 2).ToArray<float>(), value => Assert.Equal(0, value));
        Assert.Contains(x.Grad!.Narrow(0, 0, 5).ToArray<float>(), value => value != 0);
    }

    [Fact]
    public void TheOffsetsFormEqualsTheLayoutForm()
    {
        using TensorScope scope = TensorScope.Begin();
        using SequenceLayout layout = SequenceLayout.FromLengths([2, 3]);
        Tensor x = Tensor.Randn([5, 2, 4], 1);
        Tensor expected = F.VarlenAttention(x, x, x, layout, AttentionWindow.Causal);
        var options = new AttentionOptions { Window = AttentionWindow.Causal };
        Numeric.AssertSameBits(expected, F.VarlenAttention(x, x, x, Tensor.From([0, 2, 5], [3]), Tensor.From([0L, 2L, 5L], [3]), 3, 1000, options));
        var e = Assert.Throws<ArgumentException>(() => F.VarlenAttention(x, x, x, Tensor.From([0, 2, 5], [3]), Tensor.From([0, 2, 5], [3]), 2, 3));
        Assert.Contains("2 is less than the longest query sequence, 3", e.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => F.VarlenAttention(x, x, x, Tensor.From([0, 6, 5], [3]), Tensor.From([0, 2, 5], [3]), 9, 9));
    }

    [Fact]
    public void BadArgumentsAreNamedBeforeAnyWork()
    {
        using TensorScope scope = TensorScope.Begin();
        using SequenceLayout layout = SequenceLayout.FromLengths([5]), two = SequenceLayout.FromLengths([2, 3]);
        Tensor q = Tensor.Ones([5, 6, 8]);
        Check("key has 4 heads, query has 6; query heads must be a multiple", q, Tensor.Ones([5, 4, 8]), Tensor.Ones([5, 4, 8]), layout);
        Check("key has head dim 4, query has 8", q, Tensor.Ones([5, 6, 4]), Tensor.Ones([5, 6, 4]), layout);
        Check("value is [5, 6, 4], key is [5, 6, 8]", q, q, Tensor.Ones([5, 6, 4]), layout);
        Check("element type Float64 does not match Float32", q, Tensor.Ones([5, 6, 8], DType.Float64), q, layout);
        Check("query is [5, 8]; expected [tokens, heads, headDim]", Tensor.Ones([5, 8]), q, q, layout);
        Check("query is Int32, not a floating-point type", Tensor.Ones([5, 6, 8], DType.Int32), q, q, layout);
        Check("head dim 300 is not in 1..256", Tensor.Ones([5, 1, 300]), Tensor.Ones([5, 1, 300]), Tensor.Ones([5, 1, 300]), layout);
        Check("2 key sequences for 1 query sequences", q, q, q, layout, keyLayout: two);
        Check("scale 0 must be finite and positive", q, q, q, layout, new AttentionOptions { Scale = 0 });
        Check("scale NaN must be finite and positive", q, q, q, layout, new AttentionOptions { Scale = double.NaN });
        Check("softcap -1 must be finite and positive", q, q, q, layout, new AttentionOptions { Softcap = -1 });
        Check("slopes [5] do not fit 6 query heads", q, q, q, layout, new AttentionOptions { AlibiSlopes = Tensor.Ones([5]) });
        using var state = new StepState();
        Check("dropout probability 1 is not in [0, 1)", q, q, q, layout, new AttentionOptions { Dropout = new(1, state, 0) });
        using SequenceLayout longer = SequenceLayout.FromLengths([6]);
        Check("the layout's last offset is 6, but query has only 5 tokens", q, q, q, longer);

        static void Check(string text, Tensor q, Tensor k, Tensor v, SequenceLayout layout, AttentionOptions? options = null, SequenceLayout? keyLayout = null)
        {
            var e = Assert.Throws<ArgumentException>(() => F.VarlenAttention(q, k, v, layout, keyLayout ?? layout, options));
            Assert.Contains(text, e.Message, StringComparison.Ordinal);
            Assert.NotNull(e.ParamName);
        }
    }

    [Fact]
    public void RepeatedCallsAllocateLittleAndNeverCollectTheOldestGeneration()
    {
        using SequenceLayout layout = SequenceLayout.FromLengths([.. Enumerable.Range(1, 60)]);
        using Tensor q = Tensor.Randn([layout.TotalTokens, 4, 32], 1, requiresGrad: true).Keep(), dy = Tensor.Randn([layout.TotalTokens, 4, 32], 2).Keep();
        for (int i = 0; i < 5; i++) Step();
        int collections = GC.CollectionCount(2);
        long before = GC.GetTotalAllocatedBytes(precise: true);
        const int steps = 20;
        for (int i = 0; i < steps; i++) Step();
        long perStep = (GC.GetTotalAllocatedBytes(precise: true) - before) / steps;
        Assert.True(perStep < 65536, $"{perStep} bytes a step");
        Assert.Equal(collections, GC.CollectionCount(2));

        void Step()
        {
            using TensorScope scope = TensorScope.Begin();
            F.VarlenAttention(q, q, q, layout, AttentionWindow.Causal).Backward(dy);
        }
    }

    [Fact]
    public void LeavesNothingBehind() => Memory.AssertReleasesAll(() =>
    {
        using SequenceLayout layout = SequenceLayout.FromLengths([4, 2]);
        using TensorScope scope = TensorScope.Begin();
        Tensor q = Tensor.Randn([6, 2, 8], 1, requiresGrad: true);
        F.VarlenAttention(q, q, q, layout).Backward(Tensor.Ones([6, 2, 8]));
        // Forward only: the graph must let go too.
        _ = F.VarlenAttention(q, q, q, layout);
    });

    [Fact]
    public void ExplainsItsKernels()
    {
        using TensorScope scope = TensorScope.Begin();
        using SequenceLayout layout = SequenceLayout.FromLengths([2, 40]);
        Tensor x = Tensor.Ones([42, 2, 64]);
        Assert.Contains("SIMD", F.ExplainVarlenAttention(x, x, x, layout, layout), StringComparison.Ordinal);
        Tensor exact = x.To(dtype: DType.Float64);
        Assert.Contains("reference", F.ExplainVarlenAttention(exact, exact, exact, layout, layout), StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => F.ExplainVarlenAttention(x, x.Narrow(0, 0, 41), x, layout, layout));
    }
}
