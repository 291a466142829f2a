namespace Varlen.Auditing;

/// <summary>What a batch gives, kept until disposed.</summary>
/// <param name="Rows">First row and number of rows of each sequence.</param>
/// <param name="Logits">Of every row, <c>[rows, vocabulary]</c>.</param>
/// <param name="Loss">Summed over the batch's targets.</param>
/// <param name="InputGradient">With respect to the embeddings of every row, <c>[rows, width]</c>; null without a backward pass.</param>
/// <param name="ParameterGradients">One for each parameter; null where it has none.</param>
internal sealed record BatchResult(IReadOnlyList<(int First, int Count)> Rows, Tensor Logits, double Loss, Tensor? InputGradient, IReadOnlyList<Tensor?> ParameterGradients) : IDisposable
{
    /// <summary>Largest scale that gradients of a few targets may fall below without their rounding falling with them.</summary>
    public const double GradientFloor = 0.01;

    /// <summary>How far the logits of a sequence are from those in another result.</summary>
    public Difference LogitsTo(int sequence, BatchResult other, int there) => RowsTo(Logits, Rows[sequence], other.Logits, other.Rows[there]);

    /// <summary>How far the gradient of a sequence's embeddings is from that in another result.</summary>
    public Difference InputGradientTo(int sequence, BatchResult other, int there) => RowsTo(InputGradient!, Rows[sequence], other.InputGradient!, other.Rows[there]);

    /// <summary>How far the gradients of all parameters are from those of another result.</summary>
    public Difference ParametersTo(BatchResult other)
    {
        Difference all = Difference.None;
        for (int i = 0; i < ParameterGradients.Count; i++)
        {
            if ((ParameterGradients[i] ?? other.ParameterGradients[i]) is not { } present) continue;
            using TensorScope scope = TensorScope.Begin();
            // What nothing reached has no gradient, which is one of zero.
            Tensor Or(Tensor? gradient) => gradient ?? Tensor.Zeros(present.Shape, present.DType, present.Device);
            all = all.And(Difference.Between(Or(ParameterGradients[i]), Or(other.ParameterGradients[i])));
        }
        return all;
    }

    /// <summary>The largest gradient, by size, of rows that are not the sequence's.</summary>
    public double LargestGradientBeside(int sequence)
    {
        double[] gradient = InputGradient!.ToArray<double>();
        int width = InputGradient.Shape[1];
        double largest = 0;
        (int first, int count) = Rows[sequence];
        for (int i = 0; i < gradient.Length; i++)
            if (i < first * width || i >= (first + count) * width) largest = double.IsNaN(gradient[i]) ? double.NaN : Math.Max(largest, Math.Abs(gradient[i]));
        return largest;
    }

    public void Dispose()
    {
        Logits.Dispose();
        InputGradient?.Dispose();
        foreach (Tensor? gradient in ParameterGradients) gradient?.Dispose();
    }

    private static Difference RowsTo(Tensor expected, (int First, int Count) from, Tensor actual, (int First, int Count) there)
    {
        if (from.Count != there.Count) return new(double.PositiveInfinity, 1, false);
        using TensorScope scope = TensorScope.Begin();
        return Difference.Between(expected.Narrow(0, from.First, from.Count), actual.Narrow(0, there.First, there.Count));
    }
}
