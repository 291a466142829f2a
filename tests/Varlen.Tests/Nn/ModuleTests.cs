using Varlen.Nn;
using Xunit;

namespace Varlen.Tests.Nn;

public sealed class ModuleTests
{
    private sealed class Pair : Module<Tensor, Tensor>
    {
        public Pair(Linear shared)
        {
            First = Register("first", shared);
            Second = Register("second", shared);
        }

        public Linear First { get; }
        public Linear Second { get; }

        protected override Tensor ForwardCore(Tensor input) => Second.Forward(First.Forward(input));

        public void RegisterAgain() => Register("first", First);
    }

    [Fact]
    public void ATiedLayerAppearsUnderBothNamesAndIsTrainedOnce()
    {
        using var pair = new Pair(new Linear(2, 2, seed: 1));
        Assert.Equal(["first.weight", "first.bias", "second.weight", "second.bias"], pair.StateDict().Keys);
        Assert.Equal(2, pair.Parameters().Count);
        Assert.Contains("Pair has a part named \"first\" already", Assert.Throws<ArgumentException>(pair.RegisterAgain).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void LoadingListsEveryMisfitAndThenChangesNothing()
    {
        using var layer = new Linear(2, 3, seed: 1);
        using TensorScope scope = TensorScope.Begin();
        float[] before = layer.Weight.Master.ToArray<float>();
        var e = Assert.Throws<ArgumentException>(() => layer.LoadStateDict(new Dictionary<string, Tensor> { ["weight"] = Tensor.Ones([2, 3]), ["extra"] = Tensor.Ones([1]) }));
        Assert.Contains("weight is [2, 3], expected [3, 2]; bias [3] is missing; extra [1] is not a parameter of Linear", e.Message, StringComparison.Ordinal);
        Assert.Equal(before, layer.Weight.Master.ToArray<float>());
        layer.LoadStateDict(new Dictionary<string, Tensor> { ["weight"] = Tensor.Full([3, 2], 2, DType.Float64), ["bias"] = Tensor.Zeros([3]) });
        Assert.All(layer.Weight.Value.ToArray<float>(), value => Assert.Equal(2, value));
    }

    [Fact]
    public void ASixteenBitComputeTypeKeepsTheMasterAndGathersSinglePrecision()
    {
        using Linear layer = new Linear(3, 2, seed: 1).To(Device.Cpu, DType.BFloat16);
        using TensorScope scope = TensorScope.Begin();
        float[] master = layer.Weight.Master.ToArray<float>();
        Assert.Equal(DType.BFloat16, layer.Weight.Value.DType);
        layer.Forward(Tensor.Ones([4, 3], DType.BFloat16)).Sum().Backward();
        Assert.Equal(DType.Float32, layer.Weight.Grad!.DType);
        Assert.Equal(Enumerable.Repeat(4f, 6), layer.Weight.Grad!.ToArray<float>());
        layer.To(Device.Cpu, DType.Float32);
        Assert.Equal(master, layer.Weight.Value.ToArray<float>());
    }

    [Fact]
    public void AFrozenParameterTakesNoGradient()
    {
        using var layer = new Linear(3, 2, seed: 1);
        layer.Weight.RequiresGrad = false;
        using TensorScope scope = TensorScope.Begin();
        layer.Forward(Tensor.Ones([4, 3])).Sum().Backward();
        Assert.Null(layer.Weight.Grad);
        Assert.Equal([4, 4], layer.Bias!.Grad!.ToArray<float>());
    }

    [Fact]
    public void TrainAndEvalReachTheChildren()
    {
        using var pair = new Pair(new Linear(2, 2));
        pair.Eval();
        Assert.False(pair.First.IsTraining);
        pair.Train();
        Assert.True(pair.First.IsTraining);
    }
}
