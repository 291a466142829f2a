using Xunit;

namespace Varlen.Tests.Backends.Cpu.Attention;

/// <summary>Who sees whom, read off the kernels: with queries of 0 and one-hot values, an output row shows the visible keys.</summary>
public class AttentionWindowTests
{
    public static TheoryData<int, int, int, int, bool, string> Windows => new()
    {
        { 2, 5, -1, 0, false, "11110 11111" },
        { 5, 2, -1, 0, false, "00 00 00 10 11" },
        { 4, 4, 0, 0, false, "1000 0100 0010 0001" },
        { 4, 4, 1, 0, false, "1000 1100 0110 0011" },
        { 4, 4, 0, 1, false, "1100 0110 0011 0001" },
        { 4, 4, 0, -1, false, "1111 0111 0011 0001" },
        { 4, 4, -1, 1, false, "1100 1110 1111 1111" },
        { 4, 6, 1, 1, false, "011100 001110 000111 000011" },
        { 3, 6, 0, 0, false, "000100 000010 000001" },
        { 6, 3, 0, 0, false, "000 000 000 100 010 001" },
        { 6, 3, 0, -1, false, "111 111 111 111 011 001" },
        { 6, 2, 0, -1, false, "11 11 11 11 11 01" },
        { 3, 1, 1, 1, false, "0 1 1" },
        { 2, 5, -1, 0, true, "10000 11000" },
        { 5, 2, -1, 0, true, "10 11 11 11 11" },
        { 4, 4, int.MaxValue, int.MaxValue, false, "1111 1111 1111 1111" },
        { 3, 3, int.MaxValue, 0, true, "100 110 111" },
        { 3, 4, -1, -1, true, "1111 1111 1111" },
    };

    [Theory]
    [MemberData(nameof(Windows))]
    public void Kernels_see_exactly_the_window(int queries, int keys, int left, int right, bool topLeft, string expected)
    {
        foreach (DType dtype in new[] { DType.Float64, DType.Float32 })
        {
            var run = new AttentionRun
            {
                QueryHeads = 1, KeyHeads = 1, Dim = 6, Lengths = [(queries, keys)], Window = new AttentionWindow(left, right),
                Alignment = topLeft ? AttentionAlignment.TopLeft : AttentionAlignment.BottomRight, DType = dtype,
            }.Prepare();
            for (int i = 0; i < queries; i++)
                for (int f = 0; f < 6; f++) run.Query[i, 0, f] = 0;
            for (int j = 0; j < keys; j++)
                for (int f = 0; f < 6; f++) run.Value[j, 0, f] = f == j ? 1 : 0;
            run.Run();
            string seen = string.Join(' ', Enumerable.Range(0, queries).Select(i =>
                string.Concat(Enumerable.Range(0, keys).Select(j => run.Output[i, 0, j] > 0 ? '1' : '0'))));
            Assert.Equal(expected, seen);
            for (int i = 0; i < queries; i++)
                Assert.Equal(Math.Log(expected.Split(' ')[i].Count(c => c == '1')), run.LogSumExp[i, 0], 1e-6);
            run.AssertMatchesDense();
        }
    }
}
