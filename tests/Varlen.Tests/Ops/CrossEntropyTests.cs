using Varlen.Nn;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class CrossEntropyTests
{
    [Theory]
    [InlineData(Reduction.Mean, DType.Int64)]
    [InlineData(Reduction.Sum, DType.Int32)]
    public void GradientsMatchFiniteDifferences(Reduction reduction, DType targetType)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor targets = Tensor.From([0L, -100, 10, 3, -100, 3], [6]).To(dtype: targetType);
        // Scaled by an op behind it, so that the gradient that comes in is not one.
        GradCheck.Run(
            x => F.MatMul(F.CrossEntropy(x[0], targets, reduction: reduction).View(1, 1), Tensor.From([-3.0], [1, 1])),
            [Tensor.Randn([6, 11], 1, DType.Float64)]);
        GradCheck.Run(x => F.CrossEntropy(x[0], Tensor.Zeros([1], targetType)), [Tensor.Randn([1, 1], 2, DType.Float64)]);
        GradCheck.Run(x => F.CrossEntropy(x[0], Tensor.Zeros([0], targetType)), [Tensor.Randn([0, 3], 2, DType.Float64)]);
    }

    [Theory]
    [InlineData(DType.Float64, 5)]
    [InlineData(DType.Float32, 1)]
    [InlineData(DType.Float32, 300)]
    [InlineData(DType.BFloat16, 67)]
    [InlineData(DType.Float16, 67)]
    public void MatchesTheDefinition(DType dtype, int classes)
    {
        using TensorScope scope = TensorScope.Begin();
        const int tokens = 41, ignored = 7;
        Tensor logits = Tensor.Randn([tokens, classes], 1, dtype, requiresGrad: true);
        long[] targets = [.. Enumerable.Range(0, tokens).Select(i => i % 3 == 1 ? ignored - 100L : i * 31 % classes)];
        (double expected, int count, double[] gradient) = Reference(logits.ToArray<double>(), targets, classes, ignored - 100);
        (Tensor sum, long counted) = F.CrossEntropySum(logits, Tensor.From(targets, [tokens]), ignored - 100);
        Assert.Equal(count, counted);
        Assert.Equal(dtype == DType.Float64 ? DType.Float64 : DType.Float32, sum.DType);
        Assert.Equal(expected, sum.Item(), Numeric.Tolerance(sum.DType, expected));
        Assert.Equal(expected / count, F.CrossEntropy(logits, Tensor.From(targets, [tokens]), ignored - 100).Item(), Numeric.Tolerance(sum.DType, expected / count));
        sum.Backward();
        Numeric.AssertClose(Tensor.From(gradient, [tokens, classes]), logits.Grad!);
    }

    [Fact]
    public void HugeLogitsKeepTheirPrecision()
    {
        using TensorScope scope = TensorScope.Begin();
        double[] values = [.. Tensor.Randn([9, 33], 1, DType.Float64).ToArray<double>().Select((value, i) => (double)(float)(value + (i / 33 % 2 == 0 ? 1e4 : -1e4)))];
        values[40] = -1e4;
        values[70] = double.NegativeInfinity;
        long[] targets = [.. Enumerable.Range(0, 9).Select(i => (long)i)];
        (double expected, _, double[] gradient) = Reference(values, targets, 33, -100);
        Tensor logits = Tensor.From(values, [9, 33]).To(dtype: DType.Float32).Clone();
        logits.RequiresGrad = true;
        Tensor loss = F.CrossEntropy(logits, Tensor.From(targets, [9]), reduction: Reduction.Sum);
        Assert.Equal(expected, loss.Item(), 3e-5 * expected);
        loss.Backward();
        Numeric.AssertClose(Tensor.From(gradient, [9, 33]), logits.Grad!, 1e-6);
    }

    [Fact]
    public void NegligibleProbabilitiesAreZeroNotDenormal()
    {
        using TensorScope scope = TensorScope.Begin();
        float[] values = [.. Enumerable.Range(0, 19).Select(i => i == 3 ? 0f : -60f - i)];
        Tensor logits = Tensor.From(values, [1, 19], requiresGrad: true);
        F.CrossEntropy(logits, Tensor.From([3L], [1])).Backward();
        float[] gradient = logits.Grad!.ToArray<float>();
        for (int i = 0; i < 19; i++)
            if (i > 9) Assert.Equal(0, gradient[i]);
            else if (i != 3) Assert.InRange(gradient[i], 1e-31f, 1e-26f);
    }

    [Fact]
    public void NothingToCountIsZero()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor logits = Tensor.Full([3, 5], double.NaN, requiresGrad: true);
        Tensor loss = F.CrossEntropy(logits, Tensor.Full([3], -100, DType.Int64));
        Assert.Equal(0, loss.Item());
        Assert.Equal(0, F.CrossEntropySum(logits, Tensor.Full([3], -100, DType.Int32)).Count);
        loss.Backward();
        Assert.All(logits.Grad!.ToArray<float>(), value => Assert.Equal(0, value));
    }

    [Fact]
    public void MicroBatchesAddUpToOneBatch()
    {
        using TensorScope scope = TensorScope.Begin();
        long[] targets = [1, -100, 2, 0, 0, -100, 3, 3];
        Tensor whole = Tensor.Randn([8, 4], 1, DType.Float64, requiresGrad: true), parts = Tensor.Randn([8, 4], 1, DType.Float64, requiresGrad: true);
        F.CrossEntropy(whole, Tensor.From(targets, [8])).Backward();
        (Tensor first, long a) = F.CrossEntropySum(parts.Narrow(0, 0, 3), Tensor.From(targets[..3], [3]));
        (Tensor second, long b) = F.CrossEntropySum(parts.Narrow(0, 3, 5), Tensor.From(targets[3..], [5]));
        using var state = new Varlen.Optim.StepState();
        state.Begin(1, 0.1, 1.0 / (a + b));
        first.Backward(state.LossGradient);
        second.Backward(state.LossGradient);
        Numeric.AssertClose(whole.Grad!, parts.Grad!, 1e-15);
    }

    [Fact]
    public void NonFiniteLogitsStayInTheirRow()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor logits = Tensor.Randn([4, 9], 1, requiresGrad: true), poisoned = Tensor.Randn([4, 9], 1).Clone();
        poisoned.Narrow(0, 2, 1).Narrow(1, 8, 1).Fill(double.NaN);
        poisoned.RequiresGrad = true;
        Tensor targets = Tensor.From([1L, 2, 3, 4], [4]);
        F.CrossEntropy(logits, targets).Backward();
        Tensor loss = F.CrossEntropy(poisoned, targets);
        Assert.True(double.IsNaN(loss.Item()));
        loss.Backward();
        double[] clean = logits.Grad!.ToArray<double>(), dirty = poisoned.Grad!.ToArray<double>();
        for (int i = 0; i < clean.Length; i++)
            if (i / 9 == 2) Assert.True(double.IsNaN(dirty[i]));
            else Assert.Equal(clean[i], dirty[i]);
    }

    [Fact]
    public void ReleasesItsMemory() => Memory.AssertReleasesAll(() =>
    {
        using TensorScope scope = TensorScope.Begin();
        F.CrossEntropy(Tensor.Randn([5, 3], 1, requiresGrad: true), Tensor.Zeros([5], DType.Int64)).Backward();
    });

    [Fact]
    public void RefusesTargetsThatAreNoClasses()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor logits = Tensor.Ones([3, 5]);
        var e = Assert.Throws<ArgumentException>(() => F.CrossEntropy(logits, Tensor.From([0L, 4, 5], [3])));
        Assert.Contains("CrossEntropy: target 5 at index 2 is not one of 5 classes, nor the ignored -100", e.Message, StringComparison.Ordinal);
        Assert.Equal("targets", e.ParamName);
        Assert.Contains("target -1 at index 0", Assert.Throws<ArgumentException>(() => F.CrossEntropySum(logits, Tensor.From([-1, 4, 4], [3]))).Message, StringComparison.Ordinal);
        Assert.Contains("index 1", Assert.Throws<ArgumentException>(() => F.CrossEntropy(logits, Tensor.From([0, 1L << 32, 0], [3]))).Message, StringComparison.Ordinal);
        e = Assert.Throws<ArgumentException>(() => F.CrossEntropy(logits, Tensor.From([0L, 4], [2])));
        Assert.Contains("shape [2] does not fit logits [3, 5]", e.Message, StringComparison.Ordinal);
        Assert.Equal("targets", Assert.Throws<ArgumentException>(() => F.CrossEntropy(logits, Tensor.Ones([3]))).ParamName);
    }

    /// <summary>Sum, count and gradient of the sum, without any trick but the maximum.</summary>
    private static (double Sum, int Count, double[] Gradient) Reference(double[] logits, long[] targets, int classes, long ignored)
    {
        double sum = 0;
        int count = 0;
        var gradient = new double[logits.Length];
        for (int row = 0; row < targets.Length; row++)
        {
            if (targets[row] == ignored) continue;
            double[] x = logits[(row * classes)..((row + 1) * classes)];
            double max = x.Max(), total = x.Sum(value => Math.Exp(value - max));
            sum += Math.Log(total) + max - x[targets[row]];
            count++;
            for (int i = 0; i < classes; i++) gradient[row * classes + i] = Math.Exp(x[i] - max) / total - (i == targets[row] ? 1 : 0);
        }
        return (sum, count, gradient);
    }

    [Theory]
    [InlineData(DType.Float32, 1)]
    [InlineData(DType.Float32, 300)]
    [InlineData(DType.BFloat16, 67)]
    [InlineData(DType.BFloat16, 2056)]
    [InlineData(DType.Float16, 67)]
    public void CudaMatchesTheDefinition(DType dtype, int classes)
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        const int tokens = 41, ignored = 7;
        Tensor logits = Tensor.Randn([tokens, classes], 1, dtype).To(cuda);
        logits.RequiresGrad = true;
        long[] targets = [.. Enumerable.Range(0, tokens).Select(i => i % 3 == 1 ? ignored - 100L : i * 31 % classes)];
        (double expected, int count, double[] gradient) = Reference(logits.ToArray<double>(), targets, classes, ignored - 100);
        Tensor narrow = Tensor.From([.. targets.Select(target => (int)target)], [tokens]).To(cuda), wide = Tensor.From(targets, [tokens]).To(cuda);
        (Tensor sum, long counted) = F.CrossEntropySum(logits, wide, ignored - 100);
        Assert.Equal(count, counted);
        Assert.Equal(expected, sum.Item(), Numeric.Tolerance(DType.Float32, expected));
        Assert.Equal(expected / count, F.CrossEntropy(logits, narrow, ignored - 100).Item(), Numeric.Tolerance(DType.Float32, expected / count));
        sum.Backward();
        Numeric.AssertClose(Tensor.From(gradient, [tokens, classes]), logits.Grad!);
        F.CrossEntropy(logits, narrow, ignored - 100, Reduction.Sum).Backward();
        Numeric.AssertClose(Tensor.From([.. gradient.Select(value => 2 * value)], [tokens, classes]), logits.Grad!);
    }

    [Fact]
    public void CudaKeepsHugeAndNonFiniteLogitsApart()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        float[] values = [.. Tensor.Randn([6, 40], 1).ToArray<float>()];
        for (int i = 0; i < 40; i++) values[i] += i % 2 * 1e4f;
        values[50] = float.NegativeInfinity;
        values[90] = float.NaN;
        values[130] = float.PositiveInfinity;
        Array.Fill(values, float.NegativeInfinity, 160, 40);
        for (int i = 0; i < 40; i++) values[200 + i] = i == 3 ? 0 : -60 - i;
        Tensor targets = Tensor.From([5L, 6, 7, 8, 9, 3], [6]);
        float[] expected = Gradient(Device.Cpu), actual = Gradient(cuda);
        for (int i = 0; i < expected.Length; i++)
            if (float.IsNaN(expected[i])) Assert.True(float.IsNaN(actual[i]), $"element {i}: {actual[i]}");
            else Assert.Equal(expected[i], actual[i], 1e-6f);
        Assert.All(actual[210..240], value => Assert.Equal(0, value));

        float[] Gradient(Device device)
        {
            Tensor logits = Tensor.From(values, [6, 40]).To(device).Clone();
            logits.RequiresGrad = true;
            Tensor loss = F.CrossEntropy(logits, targets.To(device), reduction: Reduction.Sum);
            Assert.True(double.IsNaN(loss.Item()));
            loss.Backward();
            return logits.Grad!.ToArray<float>();
        }
    }

    [Fact]
    public void CudaCountsNothingAsZero()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        Tensor logits = Tensor.Full([3, 5], double.NaN).To(cuda);
        logits.RequiresGrad = true;
        Tensor loss = F.CrossEntropy(logits, Tensor.Full([3], -100, DType.Int64).To(cuda));
        loss.Backward();
        Assert.Equal(0, loss.Item());
        Assert.All(logits.Grad!.ToArray<float>(), value => Assert.Equal(0, value));
        Assert.Equal(0, F.CrossEntropy(Tensor.Zeros([0, 3]).To(cuda), Tensor.Zeros([0], DType.Int32).To(cuda)).Item());
    }
}
