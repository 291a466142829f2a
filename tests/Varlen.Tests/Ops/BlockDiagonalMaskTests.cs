using Xunit;
using F = Varlen.Nn.Functional;

namespace Varlen.Tests.Ops;

public sealed class BlockDiagonalMaskTests
{
    private static string Picture(BlockDiagonalMask mask)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor dense = mask.Materialize();
        float[] values = dense.ToArray<float>();
        return string.Join(" ", Enumerable.Range(0, dense.Shape[0]).Select(i => string.Concat(Enumerable.Range(0, dense.Shape[1]).Select(j => values[i * dense.Shape[1] + j] == 0 ? '1' : '0'))));
    }

    [Fact]
    public void MaterializesTheMeaningsOfItsNames()
    {
        using BlockDiagonalMask mask = BlockDiagonalMask.FromSeqlens([2, 1]), cross = BlockDiagonalMask.FromSeqlens([2], [4]), square = BlockDiagonalMask.FromSeqlens([4]);
        Assert.Equal("110 110 001", Picture(mask));
        Assert.Equal("100 110 001", Picture(mask.MakeCausal()));
        Assert.Equal("1000 1100", Picture(cross.MakeCausal()));
        Assert.Equal("1110 1111", Picture(cross.MakeCausalFromBottomRight()));
        // The window counts the token itself.
        Assert.Equal("1000 1100 0110 0011", Picture(square.MakeLocalAttention(2)));
        Assert.Equal("0010 0001", Picture(cross.MakeLocalAttentionFromBottomRight(1)));
        Assert.Throws<ArgumentOutOfRangeException>(() => mask.MakeLocalAttention(0));
        Assert.Throws<ArgumentException>(() => BlockDiagonalMask.FromSeqlens([1, 2], [3]));
    }

    [Fact]
    public void EqualsDenseAttentionUnderTheMaterializedMask()
    {
        using TensorScope scope = TensorScope.Begin();
        using BlockDiagonalMask all = BlockDiagonalMask.FromSeqlens([3, 5, 0, 2], [4, 2, 3, 2]);
        foreach (BlockDiagonalMask mask in new[] { all, all.MakeCausal(), all.MakeCausalFromBottomRight(), all.MakeLocalAttention(2), all.MakeLocalAttentionFromBottomRight(3) })
        {
            Tensor q = Tensor.Randn([10, 2, 4], 1, DType.Float64), k = Tensor.Randn([11, 2, 4], 2, DType.Float64), v = Tensor.Randn([11, 2, 4], 3, DType.Float64);
            Tensor Dense(Tensor x) => x.View(1, x.Shape[0], 2, 4).Transpose(1, 2);
            Tensor dense = F.ScaledDotProductAttention(Dense(q), Dense(k), Dense(v), mask.Materialize()).Transpose(1, 2).Reshape(10, 2, 4);
            Numeric.AssertClose(dense, F.MemoryEfficientAttention(q, k, v, mask));
        }
    }

    [Fact]
    public void SplitsPackedTensorsIntoViews()
    {
        using TensorScope scope = TensorScope.Begin();
        using BlockDiagonalMask mask = BlockDiagonalMask.FromSeqlens([2, 0, 1]);
        Tensor[] parts = mask.Split(Tensor.From([1f, 2, 3], [3, 1]));
        Assert.Equal([[1f, 2f], [], [3f]], parts.Select(part => part.ToArray<float>()));
        Assert.Throws<ArgumentException>(() => mask.Split(Tensor.Ones([4])));
    }
}
