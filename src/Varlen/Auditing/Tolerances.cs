using Varlen.Data;

namespace Varlen.Auditing;

/// <summary>Relative errors that rounding explains, where the same bits are not promised.</summary>
/// <param name="Forward">Of logits and losses.</param>
/// <param name="Backward">Of gradients.</param>
internal readonly record struct Tolerances(double Forward, double Backward)
{
    /// <summary>
    /// Those of the model's type. For a 16-bit type: twice the error that the documents have alone beside single precision, and twice the
    /// type's rounding.
    /// </summary>
    public static Tolerances Of(AuditedModel model, IReadOnlyList<TokenSequence> documents) => model.Model.DType switch
    {
        DType.Float64 => new(1e-9, 1e-9),
        DType.Float32 => new(3e-5, 1e-4),
        DType narrow => Measure(model, documents, narrow, rounding: narrow == DType.BFloat16 ? 1.0 / 256 : 1.0 / 2048),
    };

    private static Tolerances Measure(AuditedModel model, IReadOnlyList<TokenSequence> documents, DType narrow, double rounding)
    {
        using BatchResult rounded = model.RunAlone(documents);
        model.Model.To(model.Device, DType.Float32);
        try
        {
            using BatchResult exact = model.RunAlone(documents);
            double forward = 0, backward = 0;
            for (int i = 0; i < documents.Count; i++)
            {
                forward = Math.Max(forward, Relative(exact.LogitsTo(i, rounded, i), 1));
                backward = Math.Max(backward, Relative(exact.InputGradientTo(i, rounded, i), BatchResult.GradientFloor));
            }
            backward = Math.Max(backward, Relative(exact.ParametersTo(rounded), BatchResult.GradientFloor));
            return new(2 * (forward + rounding), 2 * (backward + rounding));
        }
        finally
        {
            model.Model.To(model.Device, narrow);
        }
    }

    private static double Relative(Difference difference, double floor) => difference.Error / Math.Max(difference.Scale, floor);
}
