using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class MatMulTests
{
    public static TheoryData<int[], int[]> Shapes => new()
    {
        { [3, 4], [4, 5] },
        { [1, 1], [1, 1] },
        { [0, 3], [3, 2] },
        { [3, 0], [0, 2] },
        { [3, 2], [2, 0] },
        { [7, 17], [17, 3] },
        { [2, 3, 4], [2, 4, 5] },
        { [2, 3, 4], [4, 5] },
        { [0, 3, 4], [0, 4, 5] },
        { [5, 1, 6], [5, 6, 1] },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void GradientsMatchFiniteDifferences(int[] left, int[] right)
    {
        using TensorScope scope = TensorScope.Begin();
        GradCheck.Run(x => F.MatMul(x[0], x[1]), [Tensor.Randn(new Shape(left), 1, DType.Float64), Tensor.Randn(new Shape(right), 2, DType.Float64)]);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void TransposedViewsNeedNoCopy(bool batched)
    {
        using TensorScope scope = TensorScope.Begin();
        Shape left = batched ? [2, 4, 3] : [4, 3], right = batched ? [2, 5, 4] : [5, 4];
        GradCheck.Run(
            x => F.MatMul(x[0].Transpose(-1, -2), x[1].Transpose(-1, -2)), [Tensor.Randn(left, 1, DType.Float64), Tensor.Randn(right, 2, DType.Float64)]);
        Tensor a = Tensor.Randn(left, 3), b = Tensor.Randn(right, 4);
        long live = MemoryDiagnostics.LiveCount;
        F.MatMul(a.Transpose(-1, -2), b.Transpose(-1, -2));
        Assert.Equal(1, MemoryDiagnostics.LiveCount - live);
    }

    [Fact]
    public void HeadsOfAFusedProjectionAreReadInPlace()
    {
        using TensorScope scope = TensorScope.Begin();
        // [tokens, 3, width] chunks: rows a stride apart.
        GradCheck.Run(
            x =>
            {
                Tensor[] parts = x[0].Chunk(3);
                return F.MatMul(parts[0], parts[2].Transpose(0, 1));
            },
            [Tensor.Randn([5, 12], 1, DType.Float64)]);
    }

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void MatchesDoublePrecision(DType dtype)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor a = Tensor.Randn([3, 37, 65], 3, dtype), b = Tensor.Randn([3, 65, 41], 4, dtype);
        Tensor expected = F.MatMul(a.To(dtype: DType.Float64), b.To(dtype: DType.Float64));
        double[] reference = new double[3 * 37 * 41], x = a.ToArray<double>(), y = b.ToArray<double>();
        for (int i = 0; i < reference.Length; i++)
            for (int k = 0; k < 65; k++) reference[i] += x[i / 41 * 65 + k] * y[(i / (37 * 41) * 65 + k) * 41 + i % 41];
        Numeric.AssertClose(Tensor.From(reference, [3, 37, 41]), expected);
        Numeric.AssertClose(expected, F.MatMul(a, b));
    }

    [Theory]
    [MemberData(nameof(TestDevices.AllWithTypes), MemberType = typeof(TestDevices))]
    public void ValuesAndGradientsMatchDoublePrecision(string device, DType dtype)
    {
        Device on = TestDevices.Get(device);
        foreach ((int[] left, int[] right) in Shapes.Select(row => row.Data))
        {
            foreach (bool transposed in (bool[])[false, true])
            {
                using TensorScope scope = TensorScope.Begin();
                Tensor a = Leaf(left, 1), b = Leaf(right, 2), expected = F.MatMul(a, b), gradient = Tensor.Randn(expected.Shape, 3, dtype);
                expected.Backward(gradient.To(dtype: DType.Float64));
                Tensor x = On(a), y = On(b), actual = F.MatMul(View(x), View(y));
                actual.Backward(gradient.To(on));
                Numeric.AssertClose(expected, actual.To(Device.Cpu));
                Numeric.AssertClose(a.Grad!, View(x.Grad!).Contiguous().To(Device.Cpu));
                Numeric.AssertClose(b.Grad!, View(y.Grad!).Contiguous().To(Device.Cpu));

                // The same values, stored as columns or as rows.
                Tensor View(Tensor tensor) => transposed ? tensor.Transpose(-1, -2) : tensor;
                Tensor On(Tensor tensor)
                {
                    using var region = GradMode.NoGrad();
                    Tensor moved = View(tensor).Contiguous().To(dtype: dtype).To(on);
                    moved.RequiresGrad = true;
                    return moved;
                }
            }
        }

        Tensor Leaf(int[] shape, ulong seed)
        {
            Tensor leaf = Tensor.Randn(new Shape(shape), seed, dtype).To(dtype: DType.Float64);
            leaf.RequiresGrad = true;
            return leaf;
        }
    }

    [Fact]
    public void BitsDoNotDependOnTheNumberOfThreads()
    {
        int before = Device.CpuThreads;
        try
        {
            using TensorScope scope = TensorScope.Begin();
            List<Tensor> results = [];
            foreach (int threads in new[] { 1, 2, 3 })
            {
                Device.CpuThreads = threads;
                Tensor many = F.MatMul(Tensor.Randn([40, 33, 70], 1), Tensor.Randn([40, 70, 35], 2)), large = F.MatMul(Tensor.Randn([2, 300, 170], 1), Tensor.Randn([2, 170, 200], 2));
                results.AddRange([many, large]);
            }
            for (int i = 2; i < results.Count; i++) Numeric.AssertSameBits(results[i % 2], results[i]);
        }
        finally
        {
            Device.CpuThreads = before;
        }
    }

    [Fact]
    public void RefusesWhatDoesNotFit()
    {
        using TensorScope scope = TensorScope.Begin();
        var e = Assert.Throws<ArgumentException>(() => F.MatMul(Tensor.Ones([2, 3]), Tensor.Ones([2, 3])));
        Assert.Contains("MatMul: shape [2, 3] does not fit left [2, 3]; expected [3, n]", e.Message, StringComparison.Ordinal);
        Assert.Equal("right", e.ParamName);
        Assert.Equal("right", Assert.Throws<ArgumentException>(() => F.MatMul(Tensor.Ones([2, 3]), Tensor.Ones([2, 3, 4]))).ParamName);
        Assert.Equal("right", Assert.Throws<ArgumentException>(() => F.MatMul(Tensor.Ones([2, 2, 3]), Tensor.Ones([3, 3, 4]))).ParamName);
        Assert.Equal("right", Assert.Throws<ArgumentException>(() => F.MatMul(Tensor.Ones([2, 3]), Tensor.Ones([3, 4], DType.Float64))).ParamName);
        Assert.Equal("left", Assert.Throws<ArgumentException>(() => F.MatMul(Tensor.Ones([3]), Tensor.Ones([3, 4]))).ParamName);
    }
}
