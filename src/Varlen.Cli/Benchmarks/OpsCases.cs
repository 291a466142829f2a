using System.Diagnostics;
using F = Varlen.Nn.Functional;

namespace Varlen.Cli.Benchmarks;

/// <summary>One step to time.</summary>
/// <param name="Name">Shown in results.</param>
/// <param name="Bytes">What it must read and write at least.</param>
/// <param name="Run">Runs it once and returns the seconds of the part that counts.</param>
internal sealed record OpsCase(string Name, long Bytes, Func<double> Run);

/// <summary>The steps that <see cref="OpsBenchmark"/> times, with the traffic that each cannot avoid.</summary>
internal static class OpsCases
{
    /// <summary>Makes the operands, in the caller's scope, and the steps over them.</summary>
    public static IEnumerable<OpsCase> Create(int tokens, int features)
    {
        long pass = 4L * tokens * features;
        Tensor x = Tensor.Randn([tokens, features], seed: 1), y = Tensor.Randn([tokens, features], seed: 2), dy = Tensor.Randn([tokens, features], seed: 3);
        Tensor weight = Tensor.Ones([features]), bias = Tensor.Zeros([features]);
        foreach (Tensor leaf in (Tensor[])[x, y, weight, bias]) leaf.RequiresGrad = true;

        // Forward reads the input and writes the result; backward reads the output's gradient and the input, and writes the input's gradient.
        foreach (OpsCase step in Pair("rms_norm", () => F.RmsNorm(x, weight))) yield return step;
        foreach (OpsCase step in Pair("layer_norm", () => F.LayerNorm(x, weight, bias))) yield return step;
        foreach (OpsCase step in Pair("silu", () => F.Silu(x))) yield return step;
        yield return Forward("add", 3 * pass, () => F.Add(x, y));
        yield return Forward("sum", pass, () => F.Sum(x));
        yield return Forward("add_layer_norm", 4 * pass, () => F.AddLayerNorm(x, y, weight, bias).Normed);

        OpsCase[] Pair(string name, Func<Tensor> op) => [Forward(name, 2 * pass, op), Backward(name, 3 * pass, op)];

        OpsCase Backward(string name, long bytes, Func<Tensor> op) => new($"{name} backward", bytes, () =>
        {
            Tensor output = op();
            foreach (Tensor leaf in (Tensor[])[x, y, weight, bias]) leaf.ZeroGrad();
            return Seconds(() => output.Backward(dy));
        });
    }

    private static OpsCase Forward(string name, long bytes, Func<Tensor> op) => new($"{name} forward", bytes, () => Seconds(() => op()));

    private static double Seconds(Action action)
    {
        long start = Stopwatch.GetTimestamp();
        action();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }
}
