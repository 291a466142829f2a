using Varlen.Models;
using Xunit;

namespace Varlen.Tests.Models;

public sealed class SimpleVarlenTransformerTests
{
    private static int[] Rows(int[][] ends)
    {
        var ids = new int[ends.Length * 64];
        for (int i = 0; i < ids.Length; i++) ids[i] = 3 + i * 7 % 900;
        for (int row = 0; row < ends.Length; row++)
            foreach (int end in ends[row]) ids[row * 64 + end] = 2;
        return ids;
    }

    [Fact]
    public void RunsTheTutorialsTrainingStep()
    {
        int[] ids = Rows([[31, 46, 63], [27, 38, 63], [39, 48, 63]]);
        using var layout = SequenceLayout.FromEos(ids, 3, 64, 2);
        Assert.Equal([0, 32, 47, 64, 92, 103, 128, 168, 177, 192], layout.CuSeqlens.ToArray());
        Assert.Equal(40, layout.MaxLength);
        using var model = new SimpleVarlenTransformer(1000, 128, 4, seed: 42);
        using TensorScope scope = TensorScope.Begin();
        Tensor output = model.Forward(Tensor.From(ids, [3, 64]), layout);
        Assert.Equal(new Shape(3, 64, 128), output.Shape);
        output.Mean().Backward();
        Assert.All(model.Parameters(), parameter => Assert.All(parameter.Grad!.ToArray<float>(), value => Assert.True(float.IsFinite(value))));
        Assert.Equal(["tok_embeddings.weight", "attention.qkv_proj.weight", "attention.out_proj.weight", "norm.weight", "norm.bias"], model.StateDict().Keys);
    }

    [Fact]
    public void ChangingADocumentChangesNoOther()
    {
        int[] ids = Rows([[31, 46, 63]]);
        using var layout = SequenceLayout.FromEos(ids, 1, 64, 2);
        using var model = new SimpleVarlenTransformer(1000, 32, 2, seed: 1);
        using TensorScope scope = TensorScope.Begin();
        using var region = GradMode.NoGrad();
        Tensor before = model.Forward(Tensor.From(ids, [64]), layout);
        ids[40] = 999;
        Tensor after = model.Forward(Tensor.From(ids, [64]), layout);
        Numeric.AssertSameBits(before.Narrow(0, 0, 40), after.Narrow(0, 0, 40));
        Numeric.AssertSameBits(before.Narrow(0, 47, 17), after.Narrow(0, 47, 17));
        Assert.NotEqual(before.Narrow(0, 40, 7).ToArray<float>(), after.Narrow(0, 40, 7).ToArray<float>());
    }
}
