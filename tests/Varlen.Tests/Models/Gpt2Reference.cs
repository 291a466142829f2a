using Varlen.Models;

namespace Varlen.Tests.Models;

/// <summary>GPT-2 written out in plain double-precision loops for one sequence, from the published description: no op of the library takes part.</summary>
internal sealed class Gpt2Reference(Gpt2Config config, IReadOnlyDictionary<string, double[]> weights)
{
    /// <summary>Logits, [tokens][vocabulary].</summary>
    public double[][] Logits(ReadOnlySpan<int> ids)
    {
        int width = config.Width;
        var x = new double[ids.Length][];
        for (int t = 0; t < ids.Length; t++)
        {
            x[t] = new double[width];
            for (int c = 0; c < width; c++) x[t][c] = weights["wte.weight"][ids[t] * width + c] + weights["wpe.weight"][t * width + c];
        }
        for (int layer = 0; layer < config.Layers; layer++)
        {
            string h = $"h.{layer}.";
            double[][] branch = Conv1D(Attend(Conv1D(Norm(x, h + "ln_1"), h + "attn.c_attn"), layer), h + "attn.c_proj");
            Add(x, branch);
            double[][] inner = Conv1D(Norm(x, h + "ln_2"), h + "mlp.c_fc");
            foreach (double[] row in inner)
                for (int c = 0; c < row.Length; c++) row[c] = Activate(row[c]);
            Add(x, Conv1D(inner, h + "mlp.c_proj"));
        }
        double[] head = weights[config.TieWordEmbeddings ? "wte.weight" : "lm_head.weight"];
        return [.. Norm(x, "ln_f").Select(row => Enumerable.Range(0, config.VocabularySize).Select(v => Enumerable.Range(0, width).Sum(c => row[c] * head[v * width + c])).ToArray())];
    }

    /// <summary>Summed cross entropy of each token's successor.</summary>
    public double LossSum(ReadOnlySpan<int> ids, ReadOnlySpan<int> targets)
    {
        double[][] logits = Logits(ids);
        double loss = 0;
        for (int t = 0; t < targets.Length; t++) loss += Math.Log(logits[t].Sum(Math.Exp)) - logits[t][targets[t]];
        return loss;
    }

    private double[][] Attend(double[][] qkv, int layer)
    {
        int width = config.Width, dim = width / config.Heads;
        double[][] y = [.. qkv.Select(_ => new double[width])];
        for (int head = 0; head < config.Heads; head++)
            for (int i = 0; i < qkv.Length; i++)
            {
                var scores = new double[i + 1];
                for (int j = 0; j <= i; j++)
                {
                    for (int c = 0; c < dim; c++) scores[j] += qkv[i][head * dim + c] * qkv[j][width + head * dim + c];
                    if (config.ScaleAttention) scores[j] /= Math.Sqrt(dim);
                    if (config.ScaleByInverseLayer) scores[j] /= layer + 1;
                }
                double[] p = [.. scores.Select(score => Math.Exp(score - scores.Max()))];
                double sum = p.Sum();
                for (int j = 0; j <= i; j++)
                    for (int c = 0; c < dim; c++) y[i][head * dim + c] += p[j] / sum * qkv[j][2 * width + head * dim + c];
            }
        return y;
    }

    private double[][] Norm(double[][] x, string name) => [.. x.Select(row =>
    {
        double mean = row.Average(), variance = row.Average(value => (value - mean) * (value - mean));
        return row.Select((value, c) => (value - mean) / Math.Sqrt(variance + config.NormEpsilon) * weights[name + ".weight"][c] + weights[name + ".bias"][c]).ToArray();
    })];

    // y = x W + b with W stored [in, out].
    private double[][] Conv1D(double[][] x, string name)
    {
        double[] w = weights[name + ".weight"], b = weights[name + ".bias"];
        return [.. x.Select(row => b.Select((bias, o) => bias + Enumerable.Range(0, row.Length).Sum(i => row[i] * w[i * b.Length + o])).ToArray())];
    }

    private double Activate(double x) => config.Activation switch
    {
        Activation.GeluTanh => 0.5 * x * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))),
        Activation.Gelu => x * NormalCdf(x),
        _ => Math.Max(x, 0),
    };

    // The series of the error function, to double precision for the arguments that occur.
    private static double NormalCdf(double x)
    {
        double term = x, sum = x;
        for (int n = 1; n < 200; n++) sum += term *= x * x / (2 * n + 1);
        return 0.5 + sum * Math.Exp(-x * x / 2) / Math.Sqrt(2 * Math.PI);
    }

    private static void Add(double[][] x, double[][] branch)
    {
        for (int t = 0; t < x.Length; t++)
            for (int c = 0; c < x[t].Length; c++) x[t][c] += branch[t][c];
    }
}
