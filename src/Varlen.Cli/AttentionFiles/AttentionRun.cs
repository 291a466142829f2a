using System.Diagnostics;
using Varlen.Ops;
using F = Varlen.Nn.Functional;

namespace Varlen.Cli.AttentionFiles;

/// <summary>One call of attention on the tensors of a file, and the file of its results.</summary>
internal static class AttentionRun
{
    /// <summary>Computes and gives the results, which belong to the open scope.</summary>
    /// <returns>The tensors by name in the output file, and the seconds of the computation alone.</returns>
    public static (IReadOnlyList<(string Name, Tensor Value)> Results, double Seconds) Compute(AttentionInput input, AttentionOptions options)
    {
        Tensor[] operands = [input.Query, input.Key, input.Value];
        if (input.WantsGradients)
            foreach (Tensor operand in operands) operand.RequiresGrad = true;
        Device device = input.Query.Device;
        device.Synchronize();
        long start = Stopwatch.GetTimestamp();
        (Tensor output, Tensor lse) = input switch
        {
            { Pages: { } pages } => F.VarlenAttentionWithLse(input.Query, input.Key, input.Value, input.QueryLayout, pages, options),
            { KeyLengths: { } lengths } => F.VarlenAttentionWithLse(input.Query, input.Key, input.Value, input.QueryLayout, input.KeyLayout, lengths, options),
            _ => F.VarlenAttentionWithLse(input.Query, input.Key, input.Value, input.QueryLayout, input.KeyLayout, options),
        };
        if (input.WantsGradients) Backward(output, input.OutputGradient, lse, input.LseGradient);
        device.Synchronize();
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;

        var results = new List<(string, Tensor)> { ("output", output), ("lse", lse) };
        if (input.WantsGradients)
            foreach ((string name, Tensor operand) in new[] { ("query", operands[0]), ("key", operands[1]), ("value", operands[2]) })
                results.Add(($"grad_{name}", (operand.Grad ?? Tensor.Zeros(operand.Shape, operand.DType, operand.Device)).To(dtype: operand.DType)));
        return (results, seconds);
    }

    /// <summary>Writes the results to a file that appears whole or not at all.</summary>
    public static void Write(string path, IEnumerable<(string Name, Tensor Value)> results)
        => Safetensors.Save(path, results.Select(result => KeyValuePair.Create(result.Name, result.Value)));

    // Both results' gradients enter one backward pass: the graph can be walked only once.
    private static void Backward(Tensor output, Tensor? outputGradient, Tensor lse, Tensor? lseGradient)
    {
        using TensorScope scope = TensorScope.Begin();
        Tensor root = Op.Record("attention results", Tensor.Zeros([], DType.Float32, output.Device), [output, lse], [outputGradient, lseGradient], pass =>
        {
            if (outputGradient is not null) pass.PassThrough(0, pass.Saved(0));
            if (lseGradient is not null) pass.PassThrough(1, pass.Saved(1));
        });
        root.Backward();
    }
}
