using Xunit;

namespace Varlen.Tests.Backends.Cpu.Attention;

public class AttentionDropoutTests
{
    [Theory]
    [InlineData(0.1)]
    [InlineData(0.5)]
    [InlineData(0.9)]
    public void Rate_and_scale(double rate)
    {
        foreach (DType dtype in new[] { DType.Float32, DType.Float64 })
        {
            // Equal weights and one-hot values show every link of a row: 0, or 1 / (keys * (1 - rate)).
            const int Keys = 64, Queries = 300;
            var run = new AttentionRun { QueryHeads = 1, KeyHeads = 1, Dim = Keys, Lengths = [(Queries, Keys)], Dropout = rate, DType = dtype }.Prepare();
            for (int i = 0; i < Queries; i++)
                for (int f = 0; f < Keys; f++) run.Query[i, 0, f] = 0;
            for (int j = 0; j < Keys; j++)
                for (int f = 0; f < Keys; f++) run.Value[j, 0, f] = f == j ? 1 : 0;
            run.Run(backward: false);
            int dropped = 0;
            for (int i = 0; i < Queries; i++)
            {
                Assert.Equal(Math.Log(Keys), run.LogSumExp[i, 0], 1e-5);
                for (int j = 0; j < Keys; j++)
                {
                    if (run.Output[i, 0, j] == 0) dropped++;
                    else Assert.Equal(1 / (Keys * (1 - rate)), run.Output[i, 0, j], 1e-6);
                }
            }
            // Six standard deviations of a binomial count.
            double n = Queries * Keys;
            Assert.True(Math.Abs(dropped - (rate * n)) < 6 * Math.Sqrt(n * rate * (1 - rate)), $"{dropped} of {n} links dropped at rate {rate}");
        }
    }

    [Fact]
    public void Seed_step_layer_document_and_head_each_change_the_links()
    {
        AttentionRun first = Make();
        Action<AttentionRun>[] changes =
        [
            r => r.Seed ^= 1ul << 40, r => r.Step += 1L << 32, r => r.Step++, r => r.Layer++, r => r.Documents = [r.Documents![0] + (1ul << 32)],
        ];
        foreach (Action<AttentionRun> change in changes)
        {
            AttentionRun other = Make();
            change(other);
            Assert.False(SameOutput(first.Prepare().Run(), other.Prepare().Run()));
        }
        Assert.True(SameOutput(first.Prepare().Run(), Make().Prepare().Run()));
        Assert.False(first.Output.Bits(3, 0).AsSpan().SequenceEqual(first.Output.Bits(3, 1)));

        static AttentionRun Make() => new() { RandomSeed = 5, Dropout = 0.3, Lengths = [(10, 10)], Documents = [42], QueryHeads = 2, KeyHeads = 1 };
        static bool SameOutput(AttentionRun a, AttentionRun b)
            => Enumerable.Range(0, 10).All(t => a.Output.Bits(t, 0).AsSpan().SequenceEqual(b.Output.Bits(t, 0)));
    }
}
