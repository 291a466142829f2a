using Varlen.Ops;

namespace Varlen.Nn;

public static partial class Functional
{
    /// <summary>Joins tensors along their first dimension.</summary>
    /// <param name="parts">At least one tensor; all of one type, on one device, and of equal sizes in the other dimensions.</param>
    /// <exception cref="ArgumentException">There is none, or they do not fit; the message names the first that does not.</exception>
    public static Tensor Concat(params ReadOnlySpan<Tensor> parts)
    {
        const string op = nameof(Concat);
        Op.Check(parts.Length > 0, op, nameof(parts), $"no tensors to join");
        Tensor first = parts[0];
        int rows = 0;
        for (int i = 0; i < parts.Length; i++)
        {
            Tensor part = parts[i];
            Op.Check(part.Shape.Rank >= 1 && part.Shape.Rank == first.Shape.Rank && part.Shape.Dimensions[1..].SequenceEqual(first.Shape.Dimensions[1..]), op, nameof(parts),
                $"tensor {i} is {part.Shape}, tensor 0 is {first.Shape}; all dimensions but the first must be equal");
            Op.SameType(op, first, part, nameof(parts));
            Op.SameDevice(op, first, part);
            rows = checked(rows + part.Shape[0]);
        }
        int[] sizes = first.Shape.Dimensions.ToArray();
        sizes[0] = rows;
        Tensor output = Tensor.Allocate(new Shape(sizes), first.DType, first.Device);
        var starts = new int[parts.Length + 1];
        for (int i = 0; i < parts.Length; i++)
        {
            starts[i + 1] = starts[i] + parts[i].Shape[0];
            ElementwiseCopy.Copy(parts[i], output.Narrow(0, starts[i], parts[i].Shape[0]), accumulate: false);
        }
        var inputs = new Tensor?[parts.Length];
        for (int i = 0; i < parts.Length; i++) inputs[i] = parts[i];
        return Op.Record(op, output, inputs, [], pass =>
        {
            for (int i = 0; i + 1 < starts.Length; i++)
                if (pass.Needs(i)) pass.PassThrough(i, pass.OutputGradient()!.Narrow(0, starts[i], starts[i + 1] - starts[i]));
        });
    }
}
