using Varlen.Nn;

namespace Varlen.Models;

/// <summary>A tensor of a saved model and the rows of the parameter that hold it. Fused projections are several tensors in the file.</summary>
internal readonly record struct PretrainedTensor(string Name, Parameter Parameter, int First, int Rows)
{
    public static PretrainedTensor Whole(string name, Parameter parameter) => new(name, parameter, 0, parameter.Shape.Rank == 0 ? 1 : parameter.Shape[0]);

    public Shape Shape => [Rows, .. Parameter.Shape.Dimensions[1..]];
}
