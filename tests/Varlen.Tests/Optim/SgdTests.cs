using Varlen.Nn;
using Varlen.Optim;
using Xunit;

namespace Varlen.Tests.Optim;

public sealed class SgdTests
{
    [Theory]
    [InlineData(0, false, 0)]
    [InlineData(0, false, 0.1)]
    [InlineData(0.9, false, 0.1)]
    [InlineData(0.9, true, 0.1)]
    public void FollowsTheScalarFormula(double momentum, bool nesterov, double decay)
    {
        using var run = new OptimizerCase(DType.Float64);
        using var optimizer = new Sgd(run.Named, 0.05, new SgdOptions { Momentum = momentum, Nesterov = nesterov, WeightDecay = decay });
        double[][] p = run.Values, buffer = [.. p.Select(values => new double[values.Length])];
        for (int step = 1; step <= 4; step++)
        {
            double[]?[] gradients = run.SetGradients(step);
            optimizer.Step();
            for (int i = 0; i < p.Length; i++)
            {
                if (gradients[i] is not { } g) continue;
                for (int j = 0; j < g.Length; j++)
                {
                    double d = g[j] + decay * p[i][j];
                    buffer[i][j] = momentum * buffer[i][j] + d;
                    p[i][j] -= 0.05 * (momentum == 0 ? d : nesterov ? d + momentum * buffer[i][j] : buffer[i][j]);
                }
            }
            double[][] actual = run.Values;
            for (int i = 0; i < p.Length; i++)
                for (int j = 0; j < p[i].Length; j++) Assert.Equal(p[i][j], actual[i][j], 1e-12 * Math.Max(1, Math.Abs(p[i][j])));
        }
    }

    [Fact]
    public void OneStepByHand()
    {
        using var parameter = new Parameter(Tensor.From([2f], [1, 1]));
        using var optimizer = new Sgd([parameter], 0.5, new SgdOptions { Momentum = 0.5, WeightDecay = 0.25 });
        using (TensorScope.Begin()) Varlen.Nn.Functional.MatMul(parameter, Tensor.From([3f], [1, 1])).Backward();
        optimizer.Step();
        Assert.Equal(2 - 0.5 * (3 + 0.25 * 2), parameter.Master.Item());
        optimizer.Step();
        Assert.Equal(0.25 - 0.5 * (0.5 * 3.5 + 3 + 0.25 * 0.25), parameter.Master.Item());
    }

    [Fact]
    public void KeepsNoStateWithoutMomentum()
    {
        using var parameter = new Parameter(Tensor.Ones([2]));
        using var plain = new Sgd([parameter]);
        using var momentum = new Sgd([KeyValuePair.Create("w", parameter)], 0.1, new SgdOptions { Momentum = 0.9 });
        Assert.Equal(["step"], plain.StateDict().Keys);
        Assert.Equal(["step", "w.momentum_buffer"], momentum.StateDict().Keys.Order());
        Assert.Throws<ArgumentException>(() => new Sgd([parameter], 0.1, new SgdOptions { Nesterov = true }));
    }

    [Fact]
    public void FrozenAndTiedParametersCountOnceOrNotAtAll()
    {
        using var tied = new Parameter(Tensor.From([1f], [1, 1]));
        using var frozen = new Parameter(Tensor.From([5f], [1, 1])) { RequiresGrad = false };
        using var optimizer = new Sgd([KeyValuePair.Create("a", tied), KeyValuePair.Create("b", tied), KeyValuePair.Create("c", frozen)], 1);
        Assert.Equal(2, optimizer.Parameters.Count);
        using (TensorScope.Begin()) Varlen.Nn.Functional.MatMul(Varlen.Nn.Functional.MatMul(tied, frozen), tied).Backward();
        optimizer.Step();
        Assert.Equal(1 - 2 * 5, tied.Master.Item());
        Assert.Equal(5, frozen.Master.Item());
    }

    [Theory]
    [InlineData(0, false, 0)]
    [InlineData(0.9, false, 0.1)]
    [InlineData(0.9, true, 0.1)]
    public void CudaFollowsTheCpu(double momentum, bool nesterov, double decay)
    {
        Device cuda = TestDevices.Cuda();
        var options = new SgdOptions { Momentum = momentum, Nesterov = nesterov, WeightDecay = decay };
        using OptimizerCase host = new(DType.BFloat16), device = new(DType.BFloat16, cuda);
        using Sgd expected = new(host.Named, 0.05, options), optimizer = new(device.Named, 0.05, options);
        for (int step = 1; step <= 3; step++)
        {
            host.SetGradients(step);
            device.SetGradients(step);
            expected.Step(10);
            optimizer.Step(10);
            double[][] p = host.Values, actual = device.Values;
            for (int i = 0; i < p.Length; i++)
                for (int j = 0; j < p[i].Length; j++) Assert.Equal(p[i][j], actual[i][j], 1e-6 * Math.Max(1, Math.Abs(p[i][j])));
        }
        Assert.Equal(3, optimizer.StepCount);
    }
}
