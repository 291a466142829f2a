using System.Runtime.CompilerServices;
using Varlen.Autograd;
using Varlen.Backends.Cuda;
using Varlen.Backends.Cuda.MatrixProducts;
using Varlen.Backends.Cuda.Native;
using Varlen.Ops;
using Xunit;

namespace Varlen.Tests.Backends.Cuda;

public sealed class MatrixProductTests
{
    private static readonly int[] Sizes = [1, 3, 7, 17, 33, 65];

    public static TheoryData<DType, DType> Types { get; } = new()
    {
        { DType.Float32, DType.Float32 },
        { DType.BFloat16, DType.BFloat16 },
        { DType.BFloat16, DType.Float32 },
        { DType.Float16, DType.Float16 },
        { DType.Float16, DType.Float32 },
        { DType.Float32, DType.BFloat16 },
    };

    [Theory]
    [MemberData(nameof(Types))]
    public void OddSizesMatchTheReference(DType input, DType output)
    {
        Device cuda = TestDevices.Cuda();
        foreach (int m in Sizes)
            foreach (int n in Sizes)
                foreach (int k in Sizes)
                    if ((m + n + k) % 3 == 0 || m == k) Check(cuda, new Case(m, n, k, input, output));
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void EveryLayoutMatchesTheReference(DType input, DType output)
    {
        Device cuda = TestDevices.Cuda();
        for (int bits = 0; bits < 64; bits++)
        {
            var plain = new Case(24, 40, 16, input, output)
            {
                TransposedA = (bits & 1) != 0, TransposedB = (bits & 2) != 0, TransposedC = (bits & 4) != 0, Accumulate = (bits & 8) != 0, Bias = (bits & 16) != 0, Gap = (bits & 32) != 0 ? 3 : 0,
            };
            Check(cuda, plain);
            if (bits % 3 == 0) Check(cuda, plain with { Batch = 3, M = 5, Alpha = -0.75 });
        }
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void ADepthOfZeroLeavesBiasOrZeroOrWhatWasThere(DType input, DType output)
    {
        Device cuda = TestDevices.Cuda();
        foreach (bool accumulate in (bool[])[false, true])
            foreach (bool bias in (bool[])[false, true])
                foreach (bool transposed in (bool[])[false, true]) Check(cuda, new Case(5, 7, 0, input, output) { Accumulate = accumulate, Bias = bias, TransposedC = transposed });
        Check(cuda, new Case(0, 7, 3, input, output));
        Check(cuda, new Case(7, 0, 3, input, output) { Bias = true });
    }

    [Theory]
    [InlineData(DType.BFloat16, DType.Float32)]
    [InlineData(DType.Float32, DType.Float32)]
    public void AFactorMayBeOnTheDevice(DType input, DType output)
    {
        Device cuda = TestDevices.Cuda();
        foreach (bool accumulate in (bool[])[false, true])
            foreach (bool transposed in (bool[])[false, true])
                foreach (int k in (int[])[0, 16, 17]) Check(cuda, new Case(9, 8, k, input, output) { Accumulate = accumulate, TransposedC = transposed, DeviceFactor = 0.375f });
    }

    [Fact]
    public void DeterministicModeGivesTheSameValues()
    {
        Device cuda = TestDevices.Cuda();
        cuda.IsDeterministic = true;
        try
        {
            for (int bits = 0; bits < 16; bits++)
            {
                var plain = new Case(9, 40, 24, DType.BFloat16, DType.Float32) { TransposedA = (bits & 1) != 0, TransposedB = (bits & 2) != 0, TransposedC = (bits & 4) != 0, Accumulate = (bits & 8) != 0 };
                Check(cuda, plain);
                Check(cuda, plain with { Batch = 2, M = 3 });
                Check(cuda, plain with { K = 7, N = 5 });
            }
        }
        finally
        {
            cuda.IsDeterministic = false;
        }
    }

    [Theory]
    [InlineData(DType.BFloat16, 1024, 4096)]
    [InlineData(DType.BFloat16, 4096, 1024)]
    [InlineData(DType.BFloat16, 1000, 72)]
    [InlineData(DType.BFloat16, 97, 33)]
    [InlineData(DType.Float16, 3072, 1024)]
    [InlineData(DType.Float32, 1024, 1024)]
    public void InDeterministicModeARowDoesNotDependOnTheOthers(DType dtype, int outputs, int features)
    {
        Device cuda = TestDevices.RealCuda();
        cuda.IsDeterministic = true;
        try
        {
            using TensorScope scope = TensorScope.Begin();
            const int most = 17_000;
            Tensor x = Tensor.Randn([most, features], 1, dtype).To(cuda), w = Tensor.Randn([outputs, features], 2, dtype).To(cuda), b = Tensor.Randn([outputs], 3, dtype).To(cuda);
            foreach (bool transposed in (bool[])[false, true])
            {
                Tensor weight = transposed ? w.Transpose(0, 1).Contiguous().Transpose(0, 1) : w;
                Tensor all = Varlen.Nn.Functional.Linear(x, weight, b);
                foreach (int rows in (int[])[1, 2, 5, 63, 77, 128, 300, 1000, 8192, 16_384])
                {
                    using TensorScope inner = TensorScope.Begin();
                    foreach (int first in (int[])[0, most - rows])
                        Numeric.AssertSameBits(all.Narrow(0, first, rows).Clone(), Varlen.Nn.Functional.Linear(x.Narrow(0, first, rows), weight, b));
                }
            }
        }
        finally
        {
            cuda.IsDeterministic = false;
        }
    }

    /// <summary>Few rows have kernels of their own, in which a row's bits do not depend on the others.</summary>
    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void FewRowsMatchTheReference(DType dtype)
    {
        Device cuda = TestDevices.Cuda();
        var backend = (CudaBackend)cuda.Backend;
        int plans = backend.Products.Count;
        foreach ((int n, int k) in new[] { (8, 8), (24, 264), (1000, 72), (40, 2056), (136, 1032) })
            foreach (bool transposed in (bool[])[false, true])
            {
                for (int m = 1; m <= 4; m++)
                    foreach (bool bias in (bool[])[false, true])
                        Check(cuda, new Case(m, n, k, dtype, dtype) { TransposedB = transposed, Bias = bias, Alpha = bias ? 1 : -0.75 });
                using TensorScope scope = TensorScope.Begin();
                Tensor x = Tensor.Randn([4, k], 1, dtype).To(cuda), w = Tensor.Randn(transposed ? [n, k] : [k, n], 2, dtype).To(cuda), all = Product(x), alone = Product(x.Narrow(0, 2, 1)), two = Product(x.Narrow(0, 1, 2));
                Numeric.AssertSameBits(all.Narrow(0, 2, 1).Clone(), alone);
                Numeric.AssertSameBits(all.Narrow(0, 1, 2).Clone(), two);

                Tensor Product(Tensor rows)
                {
                    Tensor result = Tensor.Empty([rows.Shape[0], n], dtype, cuda);
                    backend.Multiply(Matrix.From(rows), transposed ? Matrix.From(w).Transposed : Matrix.From(w), Matrix.From(result), accumulate: false, null, 1, 1);
                    return result;
                }
            }
        Assert.Equal(plans, backend.Products.Count);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void TimingChangesNothingButSpeed(bool fewRows)
    {
        Device cuda = TestDevices.Cuda();
        var backend = (CudaBackend)cuda.Backend;
        bool before = backend.TunesMatrixProducts;
        try
        {
            using TensorScope scope = TensorScope.Begin();
            // Large enough to be timed, or few rows of large weights, and of a shape that no other test has.
            (int m, int n, int k) = fewRows ? (5, 1111, 512) : TestDevices.IsSlow ? (1 << 10, 1 << 9, 1 << 10) : (4096, 1111, 1024);
            Tensor a = Tensor.Randn([m, k], 1, DType.BFloat16).To(cuda), b = Tensor.Randn([k, n], 2, DType.BFloat16).To(cuda), c = Tensor.Ones([m, n]).To(cuda);
            backend.TunesMatrixProducts = true;
            (int timed, long waits) = (backend.Products.Timed, backend.Waits);
            backend.Multiply(Matrix.From(a), Matrix.From(b), Matrix.From(c), accumulate: true, null, 1, 1);
            Assert.Equal(1, backend.Products.Timed - timed);
            Assert.True(backend.Waits > waits);
            waits = backend.Waits;
            backend.Multiply(Matrix.From(a), Matrix.From(b), Matrix.From(c), accumulate: true, null, -1, 1);
            Assert.Equal(waits, backend.Waits);
            Numeric.AssertClose(Tensor.Ones([m, n]), c.To(Device.Cpu), 1e-3);
        }
        finally
        {
            backend.TunesMatrixProducts = before;
        }
    }

    [Fact]
    public void ANewNumberOfTokensNeedsNoNewPlan()
    {
        Device cuda = TestDevices.Cuda();
        var backend = (CudaBackend)cuda.Backend;
        using TensorScope scope = TensorScope.Begin();
        Tensor w = Tensor.Randn([24, 16], 1, DType.BFloat16).To(cuda);
        for (int rows = 97; rows <= 112; rows += 5)
        {
            int before = backend.Products.Count;
            Varlen.Nn.Functional.Linear(Tensor.Randn([rows, 16], 2, DType.BFloat16).To(cuda), w);
            if (rows > 97) Assert.Equal(before, backend.Products.Count);
        }
    }

    [Fact]
    public void BucketsAreQuartersOfAPowerOfTwo()
    {
        Assert.Equal([1, 16, 20, 20, 24, 28, 32, 1024, 1280, 16_384, 20_480], new long[] { 1, 16, 17, 20, 21, 25, 29, 1024, 1025, 16_384, 16_385 }.Select(ProductKey.Bucket));
        for (long size = 1; size < 5000; size++) Assert.InRange(ProductKey.Bucket(size), size, size + size / 4);
    }

    [Fact]
    public unsafe void StructsAreAsTheLibraryHasThem()
    {
        Assert.Equal(64, sizeof(ProductAlgorithm));
        Assert.Equal(96, sizeof(ProductCandidate));
        ProductCandidate candidate = default;
        Assert.Equal(64, Unsafe.ByteOffset(ref Unsafe.As<ProductCandidate, byte>(ref candidate), ref Unsafe.As<nuint, byte>(ref candidate.WorkspaceBytes)));
        Assert.Equal(72, Unsafe.ByteOffset(ref Unsafe.As<ProductCandidate, byte>(ref candidate), ref Unsafe.As<BlasStatus, byte>(ref candidate.State)));
        Assert.Equal(76, Unsafe.ByteOffset(ref Unsafe.As<ProductCandidate, byte>(ref candidate), ref Unsafe.As<float, byte>(ref candidate.Waves)));
        // From the library's documentation of its enumerations.
        Assert.Equal([0, 2, 14], new[] { BlasType.Float32, BlasType.Float16, BlasType.BFloat16 }.Select(type => (int)type));
        Assert.Equal(68, (int)ComputeType.Float32);
        Assert.Equal([2, 3, 4, 7, 8], Values<OperationAttribute>());
        Assert.Equal([2, 3, 4, 5, 6], Values<LayoutAttribute>());
        Assert.Equal([1, 3, 5, 6, 7, 8], Values<PreferenceAttribute>());
        Assert.Equal([0, 1, 2, 3], Values<AlgorithmAttribute>());
        Assert.Equal([0, 1, 3, 7, 8, 13, 14, 15], Values<BlasStatus>());
        Assert.Equal((1, 4, 0, 2), ((int)Epilogue.None, (int)Epilogue.Bias, (int)ReductionSchemes.None, (int)ReductionSchemes.Accumulator));
    }

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void ColumnSumsMatchTheReference(DType dtype)
    {
        Device cuda = TestDevices.Cuda();
        var backend = (CudaBackend)cuda.Backend;
        (int, int)[] shapes = [(0, 5), (1, 1), (7, 3), (33, 17), (65, 8), (300, 40), (1000, 257), (5, 1032)];
        foreach ((int rows, int columns) in TestDevices.IsSlow ? shapes : [.. shapes, (17_000, 1024), (70_000, 3), (3, 50_257)])
        {
            foreach (DType type in (DType[])[DType.Float32, dtype])
            {
                foreach (bool accumulate in (bool[])[false, true])
                {
                    using TensorScope scope = TensorScope.Begin();
                    Tensor x = Tensor.Randn([rows, columns], 1, dtype), before = Tensor.Randn([columns], 2, type), factor = Tensor.Full([], 0.5).To(cuda), target = before.To(cuda);
                    backend.ColumnSums(x.To(cuda), new GradientTarget(target, accumulate), -0.5, factor.Pointer);
                    double[] values = x.ToArray<double>(), expected = accumulate ? before.ToArray<double>() : new double[columns];
                    for (int i = 0; i < values.Length; i++) expected[i % columns] -= 0.25 * values[i];
                    Numeric.AssertClose(Tensor.From(expected, [columns]), target.To(Device.Cpu));
                }
            }
        }
    }

    [Fact]
    public void ColumnSumsReadUnalignedViews()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([16 * 40 + 3], 1, DType.BFloat16), target = Tensor.Zeros([16]).To(cuda);
        ((CudaBackend)cuda.Backend).ColumnSums(x.To(cuda).Narrow(0, 3, 640).View(40, 16), new GradientTarget(target, false), 1);
        double[] values = x.ToArray<double>()[3..], expected = new double[16];
        for (int i = 0; i < values.Length; i++) expected[i % 16] += values[i];
        Numeric.AssertClose(Tensor.From(expected, [16]), target.To(Device.Cpu));
    }

    [Fact]
    public void RefusesDoublePrecision()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Zeros([2, 2], DType.Float64).To(cuda);
        var e = Assert.Throws<NotSupportedException>(() => Varlen.Nn.Functional.MatMul(x, x));
        Assert.Contains("Float64 is the reference precision, which only the CPU has", e.Message, StringComparison.Ordinal);
    }

    private static IEnumerable<int> Values<T>() where T : struct, Enum => Enum.GetValues<T>().Select(value => Convert.ToInt32(value, System.Globalization.CultureInfo.InvariantCulture));

    private static void Check(Device cuda, Case c)
    {
        using TensorScope scope = TensorScope.Begin();
        int batch = c.Batch;
        (Tensor a, Matrix ma) = Operand(batch, c.M, c.K, c.Input, c.TransposedA, c.Gap, 1);
        (Tensor b, Matrix mb) = Operand(batch, c.K, c.N, c.Input, c.TransposedB, c.Gap, 2);
        (Tensor r, Matrix mr) = Operand(batch, c.M, c.N, c.Output, c.TransposedC, c.Gap, 3);
        Tensor? bias = c.Bias ? Tensor.Randn([c.N], 4, c.Input) : null;
        double[] x = a.ToArray<double>(), y = b.ToArray<double>(), expected = r.ToArray<double>();
        double alpha = c.DeviceFactor is { } factor ? factor : c.Alpha;
        for (int i = 0; i < batch; i++)
        {
            for (int row = 0; row < c.M; row++)
            {
                for (int column = 0; column < c.N; column++)
                {
                    double sum = 0;
                    for (int k = 0; k < c.K; k++) sum += x[At(ma, i, row, k)] * y[At(mb, i, k, column)];
                    ref double to = ref expected[At(mr, i, row, column)];
                    to = (c.Accumulate ? to : 0) + alpha * sum + (bias is null ? 0 : bias.ToArray<double>()[column]);
                }
            }
        }
        Tensor da = a.To(cuda), db = b.To(cuda), dr = r.To(cuda), scale = Tensor.Full([], alpha).To(cuda);
        var backend = (CudaBackend)cuda.Backend;
        (ma, mb, mr) = (ma with { Data = da.Pointer }, mb with { Data = db.Pointer }, mr with { Data = dr.Pointer });
        if (c.DeviceFactor is null) backend.Multiply(ma, mb, mr, c.Accumulate, bias?.To(cuda), c.Alpha, batch);
        else backend.MultiplyScaled(ma, mb, mr, c.Accumulate, scale.Pointer);
        // Gaps between lines are compared too: nobody may write there.
        try
        {
            Numeric.AssertClose(Tensor.From(expected, [expected.Length]), dr.To(Device.Cpu));
        }
        catch (Exception e) when (e is Xunit.Sdk.XunitException)
        {
            Assert.Fail($"{c}: {e.Message}");
        }

        static int At(Matrix m, int index, int row, int column) => (int)(index * m.Step + (m.IsTransposed ? column * m.Stride + row : row * m.Stride + column));
    }

    private static (Tensor Memory, Matrix Matrix) Operand(int batch, int rows, int columns, DType dtype, bool transposed, int gap, ulong seed)
    {
        int length = transposed ? rows : columns, lines = transposed ? columns : rows, stride = Math.Max(1, length + gap), step = lines * stride + gap;
        Tensor memory = Tensor.Randn([Math.Max(1, batch * step)], seed, dtype);
        return (memory, new Matrix(0, dtype, rows, columns, stride, transposed, batch > 1 ? step : 0));
    }

    private sealed record Case(int M, int N, int K, DType Input, DType Output)
    {
        public bool TransposedA { get; init; }
        public bool TransposedB { get; init; }
        public bool TransposedC { get; init; }
        public bool Accumulate { get; init; }
        public bool Bias { get; init; }
        public int Gap { get; init; }
        public int Batch { get; init; } = 1;
        public double Alpha { get; init; } = 1.25;
        public float? DeviceFactor { get; init; }
    }
}
