namespace Varlen.Ops;

/// <summary>Checks that linear layers share.</summary>
internal static class LinearArguments
{
    /// <summary>Checks a weight and a bias, and gives the number of outputs.</summary>
    public static int Check(string op, Tensor input, int features, Tensor weight, Tensor? bias, bool outIn)
    {
        ArgumentNullException.ThrowIfNull(weight);
        Op.Check(
            weight.Shape.Rank == 2 && weight.Shape[outIn ? 1 : 0] == features, op, nameof(weight),
            $"shape {weight.Shape} does not fit input {input.Shape}; expected {(outIn ? $"[out, {features}]" : $"[{features}, out]")}");
        Op.SameType(op, input, weight, nameof(weight));
        int outputs = weight.Shape[outIn ? 0 : 1];
        if (bias is null) return outputs;
        Op.Check(bias.Shape.Rank == 1 && bias.Shape[0] == outputs, op, nameof(bias), $"shape {bias.Shape} does not fit weight {weight.Shape}; expected [{outputs}]");
        Op.SameType(op, input, bias, nameof(bias));
        Op.Check(bias.IsContiguous, op, nameof(bias), $"the vector has gaps; call Contiguous()");
        return outputs;
    }
}
