using Varlen.Generation;
using Xunit;

namespace Varlen.Tests.Generation;

public sealed class TokenSamplerTests
{
    private static readonly float[] Logits = [0.5f, -1, 2, 2, float.NegativeInfinity, 1, -3, 0];

    private static int[] Count(TokenSampler sampler, float[] logits, int draws)
    {
        var counts = new int[logits.Length];
        for (int n = 0; n < draws; n++) counts[sampler.Draw(logits, n)]++;
        return counts;
    }

    /// <summary>Probabilities worked out another way: sort, cut, divide.</summary>
    private static double[] Expected(float[] logits, double temperature, int topK, double topP)
    {
        double[] weights = [.. logits.Select(logit => Math.Exp(logit / temperature))];
        int[] order = [.. Enumerable.Range(0, logits.Length).OrderByDescending(i => logits[i]).ThenBy(i => i).Take(topK)];
        double sum = order.Sum(i => weights[i]), before = 0;
        var kept = new double[logits.Length];
        foreach (int i in order)
        {
            if (before < topP * sum) kept[i] = weights[i];
            before += weights[i];
        }
        return [.. kept.Select(weight => weight / kept.Sum())];
    }

    [Theory]
    [InlineData(1, 8, 1)]
    [InlineData(0.5, 8, 1)]
    [InlineData(3, 8, 1)]
    [InlineData(1, 3, 1)]
    [InlineData(1, 1, 1)]
    [InlineData(1, 8, 0.8)]
    [InlineData(2, 5, 0.9)]
    [InlineData(1, 8, 0.0001)]
    [InlineData(1.5, 100, 0.999)]
    public void DrawsFollowTheDistribution(double temperature, int topK, double topP)
    {
        const int draws = 40_000;
        int[] counts = Count(new TokenSampler(temperature, topK, topP, seed: 11), Logits, draws);
        double[] expected = Expected(Logits, temperature, topK, topP);
        double chi2 = 0;
        for (int i = 0; i < counts.Length; i++)
        {
            if (expected[i] == 0) Assert.Equal(0, counts[i]);
            else chi2 += Math.Pow(counts[i] - draws * expected[i], 2) / (draws * expected[i]);
        }
        // At most 7 degrees of freedom: 29.9 is passed once in ten thousand, and the seed is fixed.
        Assert.True(chi2 < 29.9, $"chi2 {chi2}: {string.Join(", ", counts)}");
    }

    [Fact]
    public void ManyEqualLogitsAreCutByIdAndDrawnEvenly()
    {
        float[] logits = new float[1000];
        int[] counts = Count(new TokenSampler(1, 10, null, 3), logits, 20_000);
        Assert.All(counts[..10], count => Assert.InRange(count, 1700, 2300));
        Assert.All(counts[10..], count => Assert.Equal(0, count));
        counts = Count(new TokenSampler(1, null, 0.5, 3), logits, 20_000);
        Assert.InRange(counts.Count(count => count > 0), 490, 501);
        Assert.All(counts[501..], count => Assert.Equal(0, count));
    }

    [Fact]
    public void TemperatureZeroTakesTheFirstOfTheLikeliest()
    {
        var sampler = new TokenSampler(0, 2, 0.5, 1);
        Assert.Equal(2, sampler.Draw(Logits, 0));
        Assert.Equal(1, sampler.Draw([-0f, 3, 3, -1], 5));
    }

    [Fact]
    public void DamagedLogitsAreAnError()
    {
        var sampler = new TokenSampler(1, null, null, 1);
        Assert.Contains("id 1 is NaN", Assert.Throws<InvalidOperationException>(() => sampler.Draw([0, float.NaN], 0)).Message, StringComparison.Ordinal);
        Assert.Throws<InvalidOperationException>(() => sampler.Draw([0, float.PositiveInfinity], 0));
        Assert.Throws<InvalidOperationException>(() => sampler.Draw([float.NegativeInfinity, float.NegativeInfinity], 0));
    }
}
