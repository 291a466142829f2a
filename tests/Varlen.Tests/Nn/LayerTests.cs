using Varlen.Nn;
using Varlen.Optim;
using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Nn;

public sealed class LayerTests
{
    [Fact]
    public void LinearStartsUniformWithinItsBound()
    {
        using var layer = new Linear(64, 50, seed: 3);
        using var same = new Linear(64, 50, seed: 3);
        using var unbiased = new Linear(64, 50, bias: false, seed: 3);
        using var other = new Linear(64, 50, seed: 4);
        float[] weight = layer.Weight.Master.ToArray<float>(), bias = layer.Bias!.Master.ToArray<float>();
        Assert.All(weight.Concat(bias), value => Assert.InRange(value, -0.125f, 0.125f));
        Assert.InRange(weight.Max(), 0.12f, 0.125f);
        Assert.InRange(weight.Min(), -0.125f, -0.12f);
        Assert.NotEqual(weight[..50], bias);
        Assert.Equal(weight, same.Weight.Master.ToArray<float>());
        Assert.Equal(weight, unbiased.Weight.Master.ToArray<float>());
        Assert.NotEqual(weight, other.Weight.Master.ToArray<float>());
        Assert.Equal(["weight", "bias"], layer.StateDict().Keys);
        Assert.Equal(["weight"], unbiased.StateDict().Keys);
        Assert.Equal([50, 64], layer.Weight.Shape);
        using var conv = new Linear(64, 50, layout: WeightLayout.InOut);
        Assert.Equal([64, 50], conv.Weight.Shape);
    }

    [Fact]
    public void LayersAreTheirOps()
    {
        using TensorScope scope = TensorScope.Begin();
        using var linear = new Linear(6, 4, seed: 1);
        using var layerNorm = new LayerNorm(4, 1e-3);
        using var rmsNorm = new RmsNorm(4, 1e-3);
        Tensor x = Tensor.Randn([5, 6], 1), y = linear.Forward(x);
        Numeric.AssertSameBits(F.Linear(x, linear.Weight, linear.Bias!), y);
        Numeric.AssertSameBits(F.LayerNorm(y, layerNorm.Weight, layerNorm.Bias!, 1e-3), layerNorm.Forward(y));
        Numeric.AssertSameBits(F.RmsNorm(y, rmsNorm.Weight, 1e-3), rmsNorm.Forward(y));
        Tensor pending = Tensor.Randn([5, 4], 2);
        Numeric.AssertSameBits(F.AddLayerNorm(y, pending, layerNorm.Weight, layerNorm.Bias!, 1e-3).Normed, layerNorm.Forward(y, pending).Normed);
        Numeric.AssertSameBits(F.AddRmsNorm(y, pending, rmsNorm.Weight, 1e-3).Sum, rmsNorm.Forward(y, pending).Sum);
        Assert.Same(y, layerNorm.Forward(y, null).Sum);
        Numeric.AssertSameBits(rmsNorm.Forward(y), rmsNorm.Forward(y, null).Normed);
        using var bare = new LayerNorm(4, bias: false);
        Assert.Equal(["weight"], bare.StateDict().Keys);
    }

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    public void ASmallNetworkLearns(DType dtype)
    {
        using var first = new Linear(4, 32, seed: 1);
        using var norm = new LayerNorm(32);
        using var second = new Linear(32, 3, seed: 2);
        Module[] modules = [first.To(Device.Cpu, dtype), norm.To(Device.Cpu, dtype), second.To(Device.Cpu, dtype)];
        using var optimizer = new AdamW(modules.SelectMany(module => module.Parameters()), 0.02);
        using Tensor x = Tensor.Randn([60, 4], 5, dtype);
        float[] inputs = x.ToArray<float>();
        long[] targets = [.. Enumerable.Range(0, 60).Select(i => inputs[4 * i] > 0.3f ? 0L : inputs[4 * i + 1] > 0 ? 1 : 2)];
        double initial = 0, final = 0;
        for (int step = 0; step < 60; step++)
        {
            using TensorScope scope = TensorScope.Begin();
            Tensor logits = second.Forward(norm.Forward(first.Forward(x)));
            Tensor loss = F.CrossEntropy(logits, Tensor.From(targets, [60]));
            optimizer.ZeroGrad();
            loss.Backward();
            optimizer.Step(1.0);
            final = loss.Item();
            if (step == 0) initial = final;
        }
        Assert.InRange(initial, 0.7, 2.5);
        Assert.InRange(final, 0, 0.3);
    }
}
