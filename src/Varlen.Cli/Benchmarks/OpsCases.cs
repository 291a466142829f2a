using Varlen.Nn;
using Varlen.Optim;
using F = Varlen.Nn.Functional;

namespace Varlen.Cli.Benchmarks;

/// <summary>One step to time.</summary>
/// <param name="Name">Shown in results.</param>
/// <param name="Bytes">What it must read and write at least.</param>
/// <param name="Run">Runs it once and returns the seconds of the part that counts.</param>
internal sealed record OpsCase(string Name, long Bytes, Func<double> Run);

/// <summary>The steps that <see cref="OpsBenchmark"/> times, with the traffic that each cannot avoid, and their operands.</summary>
internal sealed class OpsCases : IDisposable
{
    private readonly List<OpsCase> _steps = [];
    private readonly Tensor _x, _y, _weight, _bias, _gradient;
    private readonly Parameter _parameter;
    private readonly AdamW _optimizer;
    // Traffic of one operand, read or written once.
    private readonly long _pass;
    private readonly Func<Action, double> _clock;

    /// <summary>Makes the operands; tensors belong to the caller's scope.</summary>
    /// <param name="tokens">Rows of the activations.</param>
    /// <param name="features">Features of a row.</param>
    /// <param name="device">Where to compute.</param>
    /// <param name="dtype">Type of the activations.</param>
    /// <param name="clock">Runs something once and gives the seconds that it took.</param>
    public OpsCases(int tokens, int features, Device device, DType dtype, Func<Action, double> clock)
    {
        _clock = clock;
        _pass = (long)dtype.Size() * tokens * features;
        _x = Tensor.Randn([tokens, features], seed: 1, dtype, device, requiresGrad: true);
        _y = Tensor.Randn([tokens, features], seed: 2, dtype, device, requiresGrad: true);
        _weight = Tensor.Ones([features], dtype, device, requiresGrad: true);
        _bias = Tensor.Zeros([features], dtype, device, requiresGrad: true);
        _gradient = Tensor.Randn([tokens, features], seed: 3, dtype, device);
        Tensor ids = Tensor.From([.. Enumerable.Range(0, tokens).Select(i => i * 7919L % features)], [tokens], device);
        Tensor rows = Tensor.From([.. Enumerable.Range(0, tokens).Select(i => tokens - 1L - i)], [tokens], device);

        Pass("add", 3, () => F.Add(_x, _y));
        Pass("sum", 1, () => F.Sum(_x));
        Both("rms_norm", () => F.RmsNorm(_x, _weight));
        Both("layer_norm", () => F.LayerNorm(_x, _weight, _bias));
        Pass("add_layer_norm", 4, () => F.AddLayerNorm(_x, _y, _weight, _bias).Normed);
        Both("gelu", () => F.Gelu(_x));
        Both("silu", () => F.Silu(_x));
        Pass("swiglu", 3, () => F.SwiGlu(_x, _y));
        Both("softmax", () => F.Softmax(_x));
        Pass("cross_entropy", 1, () => F.CrossEntropy(_x, ids, reduction: Reduction.Sum));
        Backward("cross_entropy", 2, () => F.CrossEntropy(_x, ids, reduction: Reduction.Sum), null);
        Pass("embedding", 2, () => F.Embedding(_x, rows));

        _parameter = new Parameter(Tensor.Randn([tokens, features], seed: 4, DType.Float32, device));
        _optimizer = new AdamW([_parameter], learningRate: 1e-4);
        F.Multiply(_parameter!, _gradient.To(dtype: DType.Float32)).Sum().Backward();
        // Parameter, gradient and both moments are read; all but the gradient are written.
        _steps.Add(new("adamw", 7L * sizeof(float) * tokens * features, () => _clock(() => _optimizer.Step())));
    }

    /// <summary>The steps, in the order to print them.</summary>
    public IReadOnlyList<OpsCase> Steps => _steps;

    public void Dispose()
    {
        _optimizer.Dispose();
        _parameter.Dispose();
    }

    // Forward reads the input and writes the result. Backward reads the result's gradient and the input, and writes the input's
    // gradient; giving it that gradient copies it, which is two more.
    private void Both(string name, Func<Tensor> op)
    {
        Pass(name, 2, op);
        Backward(name, 5, op, _gradient);
    }

    private void Pass(string name, int passes, Func<Tensor> op) => _steps.Add(new($"{name} forward", passes * _pass, () => _clock(() => op())));

    private void Backward(string name, int passes, Func<Tensor> op, Tensor? gradient) => _steps.Add(new($"{name} backward", passes * _pass, () =>
    {
        Tensor output = op();
        foreach (Tensor leaf in (Tensor[])[_x, _y, _weight, _bias]) leaf.ZeroGrad();
        return _clock(() => output.Backward(gradient));
    }));
}
