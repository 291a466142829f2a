namespace Varlen.Cli.Tests.AttentionFiles;

/// <summary>Attention written down as its definition says, in double precision, one score at a time; shares nothing with the library.</summary>
internal sealed record DenseAttention(int Left = -1, int Right = -1, bool TopLeft = false, double? Scale = null, double Softcap = 0, double[]? Slopes = null)
{
    /// <summary>Output [Tq, Hq, D] and log-sum-exp [Hq, Tq].</summary>
    public (double[] Output, double[] Lse) Run(AttentionFile file, double[] query, double[] key, double[] value)
    {
        (int heads, int features) = (file.Heads, file.Features);
        int tokens = file.QueryOffsets[^1], group = heads / file.KeyHeads;
        var output = new double[tokens * heads * features];
        var lse = new double[heads * tokens];
        Array.Fill(lse, double.NegativeInfinity);
        for (int sequence = 0; sequence + 1 < file.QueryOffsets.Length; sequence++)
        {
            (int q0, int q1, int k0, int k1) = (file.QueryOffsets[sequence], file.QueryOffsets[sequence + 1], file.KeyOffsets[sequence], file.KeyOffsets[sequence + 1]);
            int shift = TopLeft ? 0 : k1 - k0 - (q1 - q0);
            for (int h = 0; h < heads; h++)
            {
                for (int i = 0; i < q1 - q0; i++)
                {
                    var visible = new List<(int Key, double Score)>();
                    for (int j = 0; j < k1 - k0; j++)
                    {
                        if (Left >= 0 && j < i + shift - Left) continue;
                        if (Right >= 0 && j > i + shift + Right) continue;
                        double score = 0;
                        for (int d = 0; d < features; d++)
                            score += query[((q0 + i) * heads + h) * features + d] * key[((k0 + j) * file.KeyHeads + h / group) * features + d];
                        score *= Scale ?? 1 / Math.Sqrt(features);
                        if (Softcap > 0) score = Softcap * Math.Tanh(score / Softcap);
                        visible.Add((k0 + j, score - (Slopes?[h] ?? 0) * Math.Abs(i + shift - j)));
                    }
                    if (visible.Count == 0) continue;
                    double max = visible.Max(v => v.Score), sum = visible.Sum(v => Math.Exp(v.Score - max));
                    lse[h * tokens + q0 + i] = max + Math.Log(sum);
                    foreach ((int j, double score) in visible)
                        for (int d = 0; d < features; d++)
                            output[((q0 + i) * heads + h) * features + d] += Math.Exp(score - max) / sum * value[(j * file.KeyHeads + h / group) * features + d];
                }
            }
        }
        return (output, lse);
    }

    /// <summary>Gradients of sum(output * outputGradient) + sum(lse * lseGradient) over rows that see a key, by central differences.</summary>
    public (double[] Query, double[] Key, double[] Value) Gradients(AttentionFile file, double[]? outputGradient, double[]? lseGradient)
    {
        const double step = 1e-5;
        double[][] operands = [[.. file.Query], [.. file.Key], [.. file.Value]];
        return (Differences(0), Differences(1), Differences(2));

        double[] Differences(int which)
        {
            double[] operand = operands[which];
            var gradient = new double[operand.Length];
            for (int i = 0; i < operand.Length; i++)
            {
                double at = operand[i];
                operand[i] = at + step;
                double above = Loss();
                operand[i] = at - step;
                double below = Loss();
                operand[i] = at;
                gradient[i] = (above - below) / (2 * step);
            }
            return gradient;
        }

        double Loss()
        {
            (double[] output, double[] lse) = Run(file, operands[0], operands[1], operands[2]);
            double loss = 0;
            if (outputGradient is not null) loss += output.Zip(outputGradient, (a, b) => a * b).Sum();
            if (lseGradient is not null) loss += lse.Zip(lseGradient, (a, b) => double.IsFinite(a) ? a * b : 0).Sum();
            return loss;
        }
    }
}
