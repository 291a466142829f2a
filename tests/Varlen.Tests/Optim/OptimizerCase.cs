using Varlen.Nn;
using Varlen.Optim;

namespace Varlen.Tests.Optim;

/// <summary>Parameters with gradients that change from step to step.</summary>
internal sealed class OptimizerCase : IDisposable
{
    private static readonly Shape[] Shapes = [[7, 5], [1], [40000], [3, 0], [33]];

    public OptimizerCase(DType compute = DType.Float32, Device? device = null)
    {
        for (int i = 0; i < Shapes.Length; i++)
        {
            var parameter = new Parameter(Tensor.Randn(Shapes[i], (ulong)i + 1, compute == DType.Float64 ? DType.Float64 : DType.Float32));
            parameter.To(device ?? Device.Cpu, compute);
            Named.Add(new($"layer.{i}", parameter));
        }
    }

    public List<KeyValuePair<string, Parameter>> Named { get; } = [];

    public Parameter[] Parameters => [.. Named.Select(entry => entry.Value)];

    /// <summary>Masters, one array per parameter.</summary>
    public double[][] Values => [.. Parameters.Select(parameter => parameter.Master.ToArray<double>())];

    /// <summary>Replaces the gradients by those of a step, and gives their values. One parameter gets none.</summary>
    public double[]?[] SetGradients(int step, double scale = 1)
    {
        var values = new double[]?[Named.Count];
        for (int i = 0; i < Named.Count; i++)
        {
            Parameter parameter = Named[i].Value;
            parameter.ZeroGrad();
            if (i == 1 && step % 2 == 0) continue;
            values[i] = [.. Gradient(parameter, i, step).Select(value => (double)(float)(value * scale))];
            using TensorScope scope = TensorScope.Begin();
            using Tensor seed = Tensor.From(values[i]!, parameter.Shape);
            Identity(parameter).Backward(seed.To(dtype: parameter.Master.DType).To(parameter.Master.Device));
        }
        return values;
    }

    public void Dispose()
    {
        foreach (Parameter parameter in Parameters) parameter.Dispose();
    }

    private static double[] Gradient(Parameter parameter, int index, int step)
    {
        var random = new Random(index * 1000 + step);
        return [.. Enumerable.Range(0, (int)parameter.Shape.Count).Select(_ => random.NextDouble() * 4 - 2)];
    }

    /// <summary>An op that hands its gradient to the parameter in the master's precision.</summary>
    private static Tensor Identity(Parameter parameter)
    {
        Tensor result = Tensor.Zeros(parameter.Shape, parameter.Master.DType, parameter.Master.Device);
        return Varlen.Ops.Op.Record("identity", result, [parameter.Value], [], pass => pass.PassThrough(0, pass.OutputGradient()!));
    }
}
