using Xunit;
namespace Varlen.Tests.Backends.Cuda.Attention;
public sealed class Dbg
{
    [Theory]
    [InlineData(DType.Float32, 0)]
    [InlineData(DType.Float32, 1)]
    [InlineData(DType.Float32, 2)]
    [InlineData(DType.BFloat16, 0)]
    [InlineData(DType.Float16, 0)]
    public void One(DType dtype, int which)
    {
        if (which == 0) new AttentionCase { DType = dtype, Lengths = [(12, 12)], Dropout = 0.3, QueryHeads = 1, KeyHeads = 1 }.AssertMatchesReference();
        if (which == 1) new AttentionCase { DType = dtype, Lengths = [(66, 66)], Dropout = 0.3, QueryHeads = 1, KeyHeads = 1 }.AssertMatchesReference();
        if (which == 2) new AttentionCase { DType = dtype, Lengths = [(12, 12), (1, 1)], Dropout = 0.3, QueryHeads = 1, KeyHeads = 1, Documents = [7, 8] }.AssertMatchesReference();
    }
}
