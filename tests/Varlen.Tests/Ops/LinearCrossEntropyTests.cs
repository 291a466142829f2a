using Varlen.Nn;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class LinearCrossEntropyTests
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void GradientsMatchFiniteDifferences(bool bias)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor targets = Tensor.From([0, -7, 4, 3, 3], [5]);
        List<Tensor> inputs = [Tensor.Randn([5, 3], 1, DType.Float64), Tensor.Randn([6, 3], 2, DType.Float64)];
        if (bias) inputs.Add(Tensor.Randn([6], 3, DType.Float64));
        GradCheck.Run(
            x => F.MatMul(F.LinearCrossEntropy(x[0], x[1], bias ? x[2] : null, targets, -7).View(1, 1), Tensor.From([-3.0], [1, 1])), [.. inputs]);
    }

    [Theory]
    [InlineData(DType.Float64, 600, 40)]
    [InlineData(DType.Float32, 1030, 1)]
    [InlineData(DType.Float32, 1030, 1300)]
    [InlineData(DType.Float32, 0, 3)]
    [InlineData(DType.BFloat16, 520, 1100)]
    [InlineData(DType.Float16, 520, 35)]
    public void EqualsTheOpsThatItFuses(DType dtype, int tokens, int classes)
    {
        using TensorScope scope = TensorScope.Begin();
        long[] ids = [.. Enumerable.Range(0, tokens).Select(i => i % 5 == 2 ? -100L : i * 31 % classes)];
        Tensor targets = Tensor.From(ids, [tokens]);
        Tensor[] fused = Inputs(dtype), plain = [.. Inputs(dtype).Select(input => input.To(dtype: DType.Float64).Clone())];
        foreach (Tensor input in fused.Concat(plain)) input.RequiresGrad = true;
        Tensor expected = F.CrossEntropy(F.Linear(plain[0], plain[1], plain[2]), targets, reduction: Reduction.Sum), loss = F.LinearCrossEntropy(fused[0], fused[1], fused[2], targets);
        double allowed = Numeric.Tolerance(loss.DType, expected.Item());
        Assert.Equal(expected.Item(), loss.Item(), allowed);
        using (GradMode.NoGrad())
            Assert.Equal(loss.Item(), F.LinearCrossEntropy(fused[0], fused[1], fused[2], targets).Item());
        Tensor scale = Tensor.Full([], 0.25, DType.Float64);
        expected.Backward(scale);
        loss.Backward(scale);
        for (int i = 0; i < 3; i++) Numeric.AssertClose(plain[i].Grad!, fused[i].Grad!);

        Tensor[] Inputs(DType type) => [Tensor.Randn([tokens, 16], 1, type), Tensor.Randn([classes, 16], 2, type), Tensor.Randn([classes], 3, type)];
    }

    [Fact]
    public void EvaluationHoldsABlockOfLogitsOnly()
    {
        using TensorScope scope = TensorScope.Begin();
        const int tokens = 4096, classes = 2048;
        Tensor x = Tensor.Randn([tokens, 4], 1), w = Tensor.Randn([classes, 4], 2, requiresGrad: true), targets = Tensor.Zeros([tokens], DType.Int64);
        Assert.True(Peak(() => F.LinearCrossEntropy(x, w, null, targets)) >= 4L * tokens * classes);
        using GradMode.Region region = GradMode.NoGrad();
        Assert.True(Peak(() => F.LinearCrossEntropy(x, w, null, targets)) < 4L * tokens * classes / 4);

        static long Peak(Func<Tensor> action)
        {
            MemoryDiagnostics.ResetPeak();
            long before = MemoryDiagnostics.LiveBytes;
            action().Dispose();
            return MemoryDiagnostics.PeakBytes - before;
        }
    }

    [Fact]
    public void StridedInputsAreReadInPlace()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor wide = Tensor.Randn([1200, 12], 1), tall = Tensor.Randn([4, 1200], 2), w = Tensor.Randn([7, 4], 3), targets = Tensor.Full([1200], 6, DType.Int32);
        foreach (Tensor x in new[] { wide.Narrow(1, 4, 4), tall.Transpose(0, 1) })
        {
            double expected = F.LinearCrossEntropy(x.Clone(), w, null, targets).Item();
            Assert.Equal(expected, F.LinearCrossEntropy(x, w, null, targets).Item(), Numeric.Tolerance(DType.Float32, expected));
        }
    }

    [Theory]
    [InlineData(false, true)]
    [InlineData(true, false)]
    public void FrozenPartsTakeNoGradient(bool input, bool weight)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Randn([5, 3], 1, requiresGrad: input), w = Tensor.Randn([4, 3], 2, requiresGrad: weight);
        F.LinearCrossEntropy(x, w, null, Tensor.From([0, 1, 2, 3, 0], [5])).Backward();
        Assert.Equal(input, x.Grad is not null);
        Assert.Equal(weight, w.Grad is not null);
    }

    [Fact]
    public void BitsDoNotDependOnTheNumberOfThreads()
    {
        int before = Device.CpuThreads;
        try
        {
            using TensorScope scope = TensorScope.Begin();
            List<Tensor[]> runs = [];
            foreach (int threads in new[] { 1, 2, 3 })
            {
                Device.CpuThreads = threads;
                Tensor x = Tensor.Randn([700, 40], 1, requiresGrad: true), w = Tensor.Randn([300, 40], 2, requiresGrad: true), b = Tensor.Randn([300], 3, requiresGrad: true);
                Tensor loss = F.LinearCrossEntropy(x, w, b, Tensor.Full([700], 5, DType.Int32));
                loss.Backward();
                runs.Add([loss, x.Grad!, w.Grad!, b.Grad!]);
            }
            foreach (Tensor[] run in runs.Skip(1))
                for (int i = 0; i < run.Length; i++) Numeric.AssertSameBits(runs[0][i], run[i]);
        }
        finally
        {
            Device.CpuThreads = before;
        }
    }

    [Fact]
    public void ReleasesItsMemory() => Memory.AssertReleasesAll(() =>
    {
        using TensorScope scope = TensorScope.Begin();
        F.LinearCrossEntropy(Tensor.Randn([5, 3], 1, requiresGrad: true), Tensor.Randn([4, 3], 2, requiresGrad: true), null, Tensor.Zeros([5], DType.Int64)).Backward();
    });

    [Fact]
    public void RefusesWhatDoesNotFit()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Ones([2, 3]), w = Tensor.Ones([4, 3]), targets = Tensor.From([0L, 4], [2]);
        var e = Assert.Throws<ArgumentException>(() => F.LinearCrossEntropy(x, w, null, targets));
        Assert.Contains("LinearCrossEntropy: target 4 at index 1 is not one of 4 classes", e.Message, StringComparison.Ordinal);
        Assert.Equal("weight", Assert.Throws<ArgumentException>(() => F.LinearCrossEntropy(x, Tensor.Ones([3, 4]), null, targets)).ParamName);
        Assert.Equal("bias", Assert.Throws<ArgumentException>(() => F.LinearCrossEntropy(x, w, Tensor.Ones([3]), targets)).ParamName);
    }

    [Theory]
    [InlineData(DType.Float32, 37, 1)]
    [InlineData(DType.Float32, 30, 130)]
    [InlineData(DType.Float32, 0, 3)]
    [InlineData(DType.BFloat16, 52, 264)]
    [InlineData(DType.Float16, 52, 35)]
    public void CudaEqualsTheOpsThatItFuses(DType dtype, int tokens, int classes)
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        Tensor targets = Tensor.From([.. Enumerable.Range(0, tokens).Select(i => i % 5 == 2 ? -100L : i * 31 % classes)], [tokens]);
        Tensor[] host = [Tensor.Randn([tokens, 16], 1, dtype), Tensor.Randn([classes, 16], 2, dtype), Tensor.Randn([classes], 3, dtype)];
        Tensor[] plain = [.. host.Select(input => input.To(dtype: DType.Float64).Clone())], fused = [.. host.Select(input => input.To(cuda).Clone())];
        foreach (Tensor input in fused.Concat(plain)) input.RequiresGrad = true;
        Tensor expected = F.CrossEntropy(F.Linear(plain[0], plain[1], plain[2]), targets, reduction: Reduction.Sum), deviceTargets = targets.To(cuda);
        // Logits are rounded to the type that their gradient has.
        double allowed = dtype == DType.Float32 ? Numeric.Tolerance(dtype, expected.Item()) : expected.Item() * Numeric.Tolerance(dtype, 1);
        for (int pass = 1; pass <= 2; pass++)
        {
            Tensor loss = F.LinearCrossEntropy(fused[0], fused[1], fused[2], deviceTargets);
            Assert.Equal(DType.Float32, loss.DType);
            Assert.Equal(expected.Item(), loss.Item(), allowed);
            using (GradMode.NoGrad()) Assert.Equal(loss.Item(), F.LinearCrossEntropy(fused[0], fused[1], fused[2], deviceTargets).Item());
            // In both precisions that a gradient can come in.
            loss.Backward(Tensor.Full([], 0.25, pass == 1 ? DType.Float64 : DType.Float32).To(cuda));
            F.CrossEntropy(F.Linear(plain[0], plain[1], plain[2]), targets, reduction: Reduction.Sum).Backward(Tensor.Full([], 0.25, DType.Float64));
            for (int i = 0; i < 3; i++)
            {
                double scale = plain[i].Grad!.ToArray<double>().Select(Math.Abs).DefaultIfEmpty().Max();
                Numeric.AssertClose(plain[i].Grad!, fused[i].Grad!, dtype == DType.Float32 ? 1e-4 * Math.Max(1, scale) : pass * Numeric.Tolerance(dtype, scale));
            }
        }
    }

    [Fact]
    public void CudaDoesNotWait()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        using var state = new Varlen.Optim.StepState(cuda);
        Tensor x = Tensor.Randn([5, 8], 1).To(cuda).Clone(), w = Tensor.Randn([16, 8], 2).To(cuda).Clone(), targets = Tensor.From([0, 1, 2, 3, 0], [5]).To(cuda);
        x.RequiresGrad = w.RequiresGrad = true;
        var backend = (Varlen.Backends.Cuda.CudaBackend)cuda.Backend;
        F.LinearCrossEntropy(x, w, null, targets).Backward(state.LossGradient);
        long before = backend.Waits;
        F.LinearCrossEntropy(x, w, null, targets).Backward(state.LossGradient);
        F.CrossEntropy(F.Linear(x, w), targets, reduction: Reduction.Sum).Backward(state.LossGradient);
        Assert.Equal(before, backend.Waits);
    }

    [Fact]
    public void CudaComputesLargeLogitsInBlocks()
    {
        Device cuda = TestDevices.RealCuda();
        using TensorScope scope = TensorScope.Begin();
        const int tokens = 5000, classes = 50257;
        Tensor x = Tensor.Randn([tokens, 64], 1, DType.BFloat16).To(cuda), w = Tensor.Randn([classes, 64], 2, DType.BFloat16).To(cuda), targets = Tensor.From([.. Enumerable.Range(0, tokens).Select(i => i * 7 % classes)], [tokens]).To(cuda);
        double blocks = F.LinearCrossEntropy(x, w, null, targets).Item(), whole = F.CrossEntropy(F.Linear(x, w), targets, reduction: Reduction.Sum).Item();
        Assert.Equal(whole, blocks, 1e-3 * whole);
    }

    [Fact]
    public void CudaGivesNaNForTargetsThatTheHostDidNotSee()
    {
        Device cuda = TestDevices.Cuda();
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Tensor.Ones([2, 3]).To(cuda), w = Tensor.Ones([4, 3]).To(cuda);
        Assert.True(double.IsNaN(F.LinearCrossEntropy(x, w, null, Tensor.From([1, 4], [2]).To(cuda)).Item()));
        Assert.True(double.IsNaN(F.LinearCrossEntropy(x, w, null, Tensor.From([1L, -1], [2]).To(cuda)).Item()));
    }
}
