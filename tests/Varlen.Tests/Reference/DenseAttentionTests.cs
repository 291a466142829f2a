using Xunit;

namespace Varlen.Tests.Reference;

/// <summary>The oracle itself: its gradients against central differences.</summary>
public class DenseAttentionTests
{
    [Theory]
    [InlineData(-1, 0, 0.0, 0.0, false, 0.0)]
    [InlineData(2, 1, 0.7, 0.3, true, 0.3)]
    [InlineData(-1, -1, 0.0, 0.2, true, 0.0)]
    [InlineData(0, -1, 1.5, 0.0, false, 0.5)]
    public void Gradients_agree_with_central_differences(int left, int right, double softcap, double slope, bool masked, double dropout)
    {
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        int queries = 4, keys = 5, dim = 3;
        double[,] q = Fill(random, queries, dim), k = Fill(random, keys, dim), v = Fill(random, keys, dim), dOutput = Fill(random, queries, dim);
        double[] dLse = [.. Enumerable.Range(0, queries).Select(_ => random.NextDouble())];
        double[,]? mask = masked ? Fill(random, queries, keys) : null;
        if (mask is not null) mask[1, 2] = double.NegativeInfinity;

        DenseAttention Make() => new()
        {
            Query = q, Key = k, Value = v, Left = left, Right = right, Scale = 0.8, Softcap = softcap, Slope = slope, Mask = mask,
            Dropout = dropout, Stream = (5, 7, 1, 99, 2),
        };
        double Loss()
        {
            DenseAttention a = Make().Forward();
            double loss = 0;
            for (int i = 0; i < queries; i++)
            {
                if (!double.IsNegativeInfinity(a.LogSumExp[i])) loss += a.LogSumExp[i] * dLse[i];
                for (int f = 0; f < dim; f++) loss += a.Output[i, f] * dOutput[i, f];
            }
            return loss;
        }

        DenseAttention result = Make().Forward().Backward(dOutput, dLse);
        foreach (var (input, gradient) in new[] { (q, result.DQuery), (k, result.DKey), (v, result.DValue) })
            for (int r = 0; r < input.GetLength(0); r++)
                for (int c = 0; c < dim; c++)
                {
                    const double Step = 1e-5;
                    double old = input[r, c];
                    input[r, c] = old + Step;
                    double up = Loss();
                    input[r, c] = old - Step;
                    double down = Loss();
                    input[r, c] = old;
                    Assert.True(Math.Abs(((up - down) / (2 * Step)) - gradient[r, c]) < 1e-8, $"seed {seed}: [{r}, {c}] {(up - down) / (2 * Step)} vs {gradient[r, c]}");
                }
    }

    private static double[,] Fill(Random random, int rows, int columns)
    {
        var values = new double[rows, columns];
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c++) values[r, c] = (2 * random.NextDouble()) - 1;
        return values;
    }
}
