using Xunit;

namespace Varlen.Tests.Backends.Cuda.Attention;

/// <summary>Values and gradients of the portable kernels against the CPU's double precision.</summary>
public sealed class AttentionValueTests
{
    // Small sequences of one and two warps, tile edges and the rows beside them, empty ones, one long among many short.
    private static readonly (int, int)[] Edges = [(1, 1), (0, 3), (16, 16), (17, 17), (5, 0), (32, 32), (33, 33), (63, 64), (65, 65), (129, 127), (3, 3)];

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    [InlineData(DType.Float16)]
    public void Sequences_of_every_kind(DType dtype)
    {
        new AttentionCase { IsPortable = true, DType = dtype, Lengths = Edges, QueryHeads = 3, KeyHeads = 3 }.AssertMatchesReference();
        new AttentionCase { IsPortable = true, DType = dtype, Lengths = Edges, QueryHeads = 4, KeyHeads = 2, Window = AttentionWindow.Causal, Tail = 3 }.AssertMatchesReference();
    }

    public static TheoryData<DType, int, int> Windows
    {
        get
        {
            var data = new TheoryData<DType, int, int>();
            foreach ((int left, int right) in new[] { (0, 0), (1, 0), (0, 1), (8, 2), (-1, 4), (4, -1), (-1, 0), (40, 9) })
            {
                data.Add(DType.BFloat16, left, right);
                if (left is 8 or -1) data.Add(DType.Float32, left, right);
            }
            return data;
        }
    }

    [Theory, MemberData(nameof(Windows))]
    public void Windows_of_both_alignments(DType dtype, int left, int right)
    {
        foreach (AttentionAlignment alignment in new[] { AttentionAlignment.BottomRight, AttentionAlignment.TopLeft })
            new AttentionCase { IsPortable = true, DType = dtype, Lengths = [(20, 31), (90, 70), (70, 150), (9, 9)], Window = new(left, right), Alignment = alignment }.AssertMatchesReference();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(8)]
    [InlineData(16)]
    [InlineData(31)]
    [InlineData(40)]
    [InlineData(64)]
    [InlineData(96)]
    [InlineData(111)]
    [InlineData(128)]
    [InlineData(192)]
    [InlineData(256)]
    public void Head_dims(int dim)
        => new AttentionCase { IsPortable = true, DType = DType.BFloat16, Dim = dim, Lengths = [(14, 14), (30, 25), (80, 70)], QueryHeads = 2, KeyHeads = 1, Window = AttentionWindow.Causal }.AssertMatchesReference();

    [Theory]
    [InlineData(3)]
    [InlineData(64)]
    [InlineData(128)]
    [InlineData(250)]
    public void Head_dims_in_single_precision(int dim)
        => new AttentionCase { IsPortable = true, Dim = dim, Lengths = [(14, 14), (30, 25), (80, 70)], QueryHeads = 2, KeyHeads = 1, Window = AttentionWindow.Causal }.AssertMatchesReference();

    [Theory]
    [InlineData(DType.Float32)]
    [InlineData(DType.BFloat16)]
    public void Features_of_scores(DType dtype)
    {
        (int, int)[] lengths = [(12, 12), (30, 30), (70, 90), (66, 66)];
        new AttentionCase { IsPortable = true, DType = dtype, Lengths = lengths, Softcap = 1.5, Scale = 0.7 }.AssertMatchesReference();
        new AttentionCase { IsPortable = true, DType = dtype, Lengths = lengths, HasSlopes = true, Window = AttentionWindow.Causal }.AssertMatchesReference();
        new AttentionCase { IsPortable = true, DType = dtype, Lengths = lengths, Dropout = 0.3, Documents = [7, 1ul << 40, 9, 3] }.AssertMatchesReference();
        new AttentionCase { IsPortable = true, DType = dtype, Lengths = lengths, Softcap = 2, Scale = 0.6, HasSlopes = true, Dropout = 0.2, Window = new(20, 5), QueryHeads = 4, KeyHeads = 2 }.AssertMatchesReference();
    }

    [Fact]
    public void Nothing_to_do_is_legal()
    {
        new AttentionCase { IsPortable = true, Lengths = [] }.AssertMatchesReference();
        new AttentionCase { IsPortable = true, Lengths = [(0, 0), (0, 4), (5, 0)], Tail = 2 }.AssertMatchesReference();
    }
}
