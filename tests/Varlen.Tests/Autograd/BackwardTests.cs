using Varlen.Autograd;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Autograd;

public sealed class BackwardTests
{
    private static Tensor Leaf(params double[] values) => Tensor.From(values, [values.Length], requiresGrad: true);

    [Fact]
    public void ADiamondAddsBothBranches()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Leaf(2, 3);
        Tensor y = x * x;
        (F.Exp(y) + y * x).Sum().Backward();
        // d/dx (exp(x^2) + x^3)
        Assert.Equal(new[] { 2.0, 3.0 }.Select(v => 2 * v * Math.Exp(v * v) + 3 * v * v), x.Grad!.ToArray<double>(), (a, b) => Math.Abs(a - b) <= 1e-9 * Math.Abs(a));
    }

    [Fact]
    public void ATensorUsedTwiceByOneOpGetsBothGradients()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Leaf(1, 2, 3, 4);
        (x.View(2, 2) / x.View(2, 2).Transpose(0, 1)).Sum().Backward();
        GradCheck.Run(t => t[0].View(2, 2) / t[0].View(2, 2).Transpose(0, 1), [Tensor.From([1.0, 2, 3, 4], [4])]);
        Assert.NotNull(x.Grad);
    }

    [Fact]
    public void GradientsOfSlicesLandInTheirBase()
    {
        using TensorScope scope = TensorScope.Begin();
        GradCheck.Run(t =>
        {
            Tensor[] parts = (t[0] * 2).Chunk(3);
            // The middle part is not used at all, the first one twice, a sub-slice of the last one once more.
            return parts[0] * parts[0] + parts[2] * parts[2].Narrow(1, 0, 1);
        }, [Tensor.Randn([4, 6], 1, DType.Float64)]);
    }

    [Fact]
    public void NothingIsRecordedWithoutGradients()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Leaf(1);
        using (GradMode.NoGrad())
        {
            Assert.False((x * x).RequiresGrad);
            Assert.False(x.View(1, 1).RequiresGrad);
        }
        Assert.True((x * x).RequiresGrad);
        Assert.False(x.Detach().RequiresGrad);
        Assert.Contains("does not require a gradient", Assert.Throws<InvalidOperationException>(() => x.Detach().Backward()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void MicroBatchesAccumulateUntilZeroGrad()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Leaf(3);
        (x * x).Sum().Backward();
        (x * 5).Sum().Backward();
        Assert.Equal([11], x.Grad!.ToArray<double>());
        x.ZeroGrad();
        Assert.Null(x.Grad);
        (x * x).Sum().Backward();
        Assert.Equal([6], x.Grad!.ToArray<double>());
    }

    [Fact]
    public void ASecondBackwardThroughAReleasedGraphIsAnError()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Leaf(1), y = x * x, z = y * y, w = F.Exp(y);
        z.Sum().Backward();
        Assert.Contains("released by an earlier Backward", Assert.Throws<InvalidOperationException>(() => z.Sum().Backward()).Message, StringComparison.Ordinal);
        Assert.Contains("released by an earlier Backward", Assert.Throws<InvalidOperationException>(() => w.Sum().Backward()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ASavedValueThatWasOverwrittenIsAnError()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Leaf(1, 2), y = x * x, z = y * y;
        using (GradMode.NoGrad()) y.Detach().Fill(0);
        Assert.Contains("was overwritten in place", Assert.Throws<InvalidOperationException>(() => z.Sum().Backward()).Message, StringComparison.Ordinal);
        Assert.Contains("GradMode.NoGrad()", Assert.Throws<InvalidOperationException>(() => x.Fill(1)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AGradientOfAnotherShapeIsRefused()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Leaf(1, 2), y = x * x;
        Assert.Contains("has more than one element", Assert.Throws<ArgumentException>(() => y.Backward()).Message, StringComparison.Ordinal);
        Assert.Contains("gradient [3] does not fit [2]", Assert.Throws<ArgumentException>(() => y.Backward(Tensor.Ones([3], DType.Float64))).Message, StringComparison.Ordinal);
        y.Backward(Tensor.From([1.0, 10], [2]));
        Assert.Equal([2, 40], x.Grad!.ToArray<double>());
    }

    [Fact]
    public void ALongChainNeitherOverflowsTheStackNorLeaks() => Memory.AssertReleasesAll(() =>
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Leaf(1), y = x;
        for (int i = 0; i < 20_000; i++) y += x;
        y.Backward();
        Assert.Equal(20_001, x.Grad!.Item());
        // And once more without a backward pass.
        Tensor z = x;
        for (int i = 0; i < 20_000; i++) z *= x;
    });

    [Fact]
    public void AGraphThatIsNeverRunLetsGoOfItsSavedValues() => Memory.AssertReleasesAll(() =>
    {
        Tensor x = Leaf(1, 2);
        Tensor loss;
        using (TensorScope scope = TensorScope.Begin())
        {
            Tensor y = x * x;
            loss = scope.Return(F.Exp(y).Sum());
        }
        Assert.True(MemoryDiagnostics.LiveCount > 0);
        loss.Dispose();
        x.Dispose();
    });

    [Fact]
    public void AFailureInABackwardFunctionLeavesNothingHalfDone() => Memory.AssertReleasesAll(() =>
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Leaf(1, 2);
        Tensor y = x * x;
        Tensor broken = Varlen.Ops.Op.Record("broken", y.Clone(), [y], [y], _ => throw new InvalidOperationException("broken on purpose"));
        Assert.Equal("broken on purpose", Assert.Throws<InvalidOperationException>(() => (broken * 2).Sum().Backward()).Message);
        (x * 3).Sum().Backward();
        Assert.Equal([3, 3], x.Grad!.ToArray<double>());
    });

    [Fact]
    public void AResidualAdditionPassesItsGradientOnWithoutACopy()
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor x = Leaf(1, 2), a = x * 2, b = x * 3;
        Tensor sum = a + b;
        (GradientStatistics.Copies, GradientStatistics.StandaloneAdds, GradientStatistics.ZeroFills) = (0, 0, 0);
        (sum * 7).Sum().Backward();
        Assert.Equal([35, 35], x.Grad!.ToArray<double>());
        Assert.Equal((0, 0, 0), (GradientStatistics.Copies, GradientStatistics.StandaloneAdds, GradientStatistics.ZeroFills));
    }
}
